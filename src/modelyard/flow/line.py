"""The whole product as one line: documents -> corpus -> model -> candidates -> verdicts -> release."""

from __future__ import annotations

from pathlib import Path

from ..data.settings import ANSWER, INDEX, PREPARE, AnswerSettings, IndexSettings, PrepareSettings
from ..errors import SourceError
from ..project import Project
from ..records.shapes import Record, SourceFiles
from ..records.yard import Yard
from ..train.locate import locate
from ..train.settings import BASE, BaseSettings
from .files import file_kinds
from .measuring import Material
from .node import Line, Node
from .recipes import smaller
from .search import search, usable_engines
from .sources import fingerprint, of_files
from .tuning import minutes_of, tuned


def line(project: Project, folder: Path, yard: Yard) -> Line[Record]:
    """The nodes of `project`, whose file lies in `folder`; returns the Release.

    Every missing source is named at once. What cannot be had (no pairs, no documents, no tuning)
    leaves its steps out; the line is the same.
    """
    file_kinds(usable_engines(project), project.release.search.files)  # said before the expensive part
    minutes_of(project)
    sources = _sources(project, folder, yard)
    prepare = PrepareSettings(
        # Who makes a file changes nothing in it, so that is not part of the key.
        sources=tuple(source.model_copy(update={"made_by": None}) for source in project.data.sources),
        hold_out=project.task.hold_out,
        redact=project.data.redact,
        near_duplicate=project.data.near_duplicate,
        phone_region=project.data.phone_region,
        extract=project.task.kind == "extract",
        seed=project.seed,
    )
    names = {"train.base": project.train.base}
    if project.train.method is not None and project.train.distil is not None:
        names["train.distil.teacher"] = project.train.distil.teacher
    bases = [
        Node(BASE, BaseSettings(base=name), sources=(_base_files(name, setting, folder, yard),))
        for setting, name in names.items()
    ]
    asks = _asks(project, sources)
    answers = {"answers": (yield asks)} if asks else {}
    corpus, base_model, *teachers = yield (Node(PREPARE, prepare, answers, sources=sources), *bases)
    model, index = base_model, None
    if project.ground is not None and corpus.fact("data.documents").value:
        (index,) = yield (
            Node(INDEX, IndexSettings(ground=project.ground, seed=project.seed), {"corpus": (corpus,)}),
        )
    if project.train.method is not None and _learnable(project, corpus):
        inputs: dict[str, tuple[Record, ...]] = {"corpus": (corpus,), "model": (base_model,)}
        if teachers:
            inputs["teacher"] = tuple(teachers)
        model = yield from tuned(project, inputs)
    others = yield from smaller(
        project, corpus, model, lambda name, setting: _base_files(name, setting, folder, yard)
    )
    sets = tuple(
        fingerprint(yard, name, folder / path) for name, path in sorted(project.release.probes.sets.items())
    )
    material = Material(corpus, index, base_model, model, tuple(others), sets)
    return (yield from search(project, material, yard))


def _learnable(project: Project, corpus: Record) -> bool:
    """Whether there is something to tune on. Raises SourceError where something was asked for in vain."""
    if corpus.fact("data.pairs.train").value:
        return True
    train = project.train
    if train.mixture is not None and train.preference is None:
        return True  # of documents; what it names is checked as they are read
    for name in ("preference", "distil", "search"):
        if getattr(train, name) is not None:
            raise SourceError(
                "the corpus has no pair to learn from",
                where=f"train.{name}",
                try_="pairs with an answer in data.sources; or train.mixture, to learn documents as text",
            )
    return False


def _asks(project: Project, sources: tuple[SourceFiles, ...]) -> tuple[Node, ...]:
    """A larger model asked for each source whose answers it writes."""
    return tuple(
        Node(
            ANSWER,
            AnswerSettings(
                path=source.path,
                fields=source.fields,
                answers=source.answers,
                redact=project.data.redact,
                phone_region=project.data.phone_region,
                seed=project.seed,
            ),
            sources=(files,),
            label=source.path,
        )
        for source, files in zip(project.data.sources, sources, strict=True)
        if source.answers is not None
    )


def _base_files(name: str, setting: str, folder: Path, yard: Yard) -> SourceFiles:
    base = locate(name, folder, setting)
    return of_files(yard, base.name, base.root, [base.root / file for file in base.files])


def _sources(project: Project, folder: Path, yard: Yard) -> tuple[SourceFiles, ...]:
    found, missing = [], []
    for source in project.data.sources:
        try:
            made_by = f"`{source.made_by}` makes it" if source.made_by else None
            found.append(fingerprint(yard, source.path, folder / source.path, made_by=made_by))
        except SourceError as error:
            missing.append(error)
    if len(missing) == 1:
        raise missing[0]
    if missing:
        raise SourceError(
            f"{len(missing)} sources cannot be read:\n  "
            + "\n  ".join(f"{e.what} ({e.where})" for e in missing),
            try_="; ".join(dict.fromkeys(e.try_ for e in missing)),
        )
    return tuple(found)
