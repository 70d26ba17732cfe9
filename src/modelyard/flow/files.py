"""The files that a search tries: what a model is converted to, each with its reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .. import engines
from ..errors import MissingPackage, SourceError
from ..optimize.needs import missing
from ..optimize.settings import CONVERT, FILE_KINDS, UNQUANTISED, ConvertSettings, FileKind, Server
from ..project import Project
from ..records.shapes import Record
from ..verify.settings import REFERENCE, ReferenceSettings
from .node import Line, Node

REFERENCE_ITEMS = 6  # prompts on which a file is held against its model: a fault shows on every one
BASE_ITEMS = 4  # the untuned base is compared with, never released


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to make: of the tuned model, or of a smaller one that `convert.chain` tells of."""

    model: Record
    convert: ConvertSettings


@dataclass(frozen=True, slots=True)
class File:
    """A converted file with its reference."""

    candidate: Record
    reference: Record

    @property
    def kind(self) -> str:
        """Such as "gguf Q4_0", or "remote gguf Q4_0" where a server serves it."""
        told = self.candidate.settings
        return f"remote {told['file']}" if told.get("server") else str(told["file"])

    @property
    def label(self) -> str:
        """Such as "26 layers, distilled, gguf Q4_0"."""
        return ", ".join((*self.candidate.settings.get("chain", ()), self.kind))


def wanted(
    project: Project, usable: Sequence[str], model: Record, smaller: Sequence[tuple[Record, tuple[str, ...]]]
) -> list[Wanted]:
    """Every file of `model` and of the smaller ones, the likeliest first: what a short budget reaches."""
    models = [(model, ()), *smaller]
    found = [
        Wanted(one, ConvertSettings(file=kind, chain=chain))
        for kind in file_kinds(usable, project.release.search.files)
        for one, chain in models
    ]
    return found + [Wanted(model, convert) for convert in served_elsewhere(project)]


def file_kinds(usable: Sequence[str], named: Sequence[FileKind] | None = None) -> list[FileKind]:
    """What a model is converted to: all that one of the engines reads and that can be made here, or of these
    the `named` ones, and in any case one unquantised file, which losses are counted from.

    Raises SourceError for a named one that no engine reads, MissingPackage for one that cannot be made here.
    """
    readable = _readable(usable)
    for kind in named or ():
        if kind not in readable:
            raise SourceError(
                f"none of the engines that are measured reads {kind}",
                where="release.search.files",
                try_="release.engines with one that does, or another file; `modelyard doctor` lists them",
            )
        if lacking := missing(kind):
            raise lacking
    kinds = [kind for kind in readable if not missing(kind)]
    origin = next((kind for kind in UNQUANTISED if kind in kinds), None)
    return [
        kind
        for kind in kinds
        if kind == origin or (kind in named if named is not None else kind not in UNQUANTISED)
    ]


def unmade(usable: Sequence[str]) -> list[MissingPackage]:
    """Why files that one of the engines reads are not made here: one reason for each converter."""
    found = [lacking for kind in _readable(usable) if (lacking := missing(kind))]
    return list({lacking.what: lacking for lacking in found}.values())


def _readable(usable: Sequence[str]) -> list[FileKind]:
    return [kind for kind in FILE_KINDS if any(engines.reads(engine, kind) for engine in usable)]


def served_elsewhere(project: Project) -> list[ConvertSettings]:
    """The file that a server of the project's serves, if it has one."""
    remote = project.release.remote
    if remote is None:
        return []
    server = Server(url=remote.url, model=remote.model, key_env=remote.key_env)
    return [ConvertSettings.model_validate({"file": remote.file, "server": server})]


def files(
    wanted: Sequence[Wanted], tuned: Record, corpus: Record, items: int = REFERENCE_ITEMS
) -> Line[list[File]]:
    """The files, each with its reference."""
    candidates = yield tuple(
        Node(
            CONVERT,
            one.convert,
            {"model": (one.model,)} | ({"tuned": (tuned,)} if one.convert.chain else {}),
            label=one.convert.label,
        )
        for one in wanted
    )
    references = yield tuple(
        Node(
            REFERENCE,
            ReferenceSettings(items=items),
            {"candidate": (candidate,), "model": (one.model,), "corpus": (corpus,)},
            label=one.convert.label,
        )
        for candidate, one in zip(candidates, wanted, strict=True)
    )
    return [File(c, r) for c, r in zip(candidates, references, strict=True)]
