"""The release search: screen every candidate, measure few in full, score one winner once on `report`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .. import engines, machine
from ..optimize.settings import CONVERT, GGUF_TYPES, ConvertSettings, GgufType
from ..project import Project
from ..records.shapes import Record
from ..release import Verdict, finalists, gates_for, pick, reference, verdict
from ..release.settings import CHOOSE, ChooseSettings, Gate
from ..verify.settings import MEASURE, REFERENCE, Fidelity, MeasureSettings, Mix, ReferenceSettings
from .node import Line, Node

SCREEN_ITEMS = 48
FULL_ITEMS = 300
REPORT_ITEMS = 400
FINALISTS = 2
UNQUANTISED: GgufType = "F16"
SERVING = ("openvino", "llamacpp")  # engines that a release may be served by; torch is the reference
SCORES = {"extract": "exact_match", "classify": "exact_match", "chat": "f1"}


@dataclass(frozen=True, slots=True)
class Material:
    """What the search works on. `base` is `model` when nothing was tuned."""

    corpus: Record
    index: Record | None
    base: Record
    model: Record

    @property
    def tuned(self) -> bool:
        return self.base.id != self.model.id

    @property
    def has_pairs(self) -> bool:
        return bool(self.corpus.fact("data.pairs.select").value)


@dataclass(frozen=True, slots=True)
class File:
    """A converted file with its reference."""

    candidate: Record
    reference: Record


def search(project: Project, material: Material) -> Line[Record]:
    """Propose conversions and measurements, each from the verdicts so far; returns the Release.

    Every file is screened on every engine; the finalists and the unquantised file that losses are
    counted from are measured in full; the one winner, that file and the untuned base are scored on
    `report`. `release.choose` has the last word: it refuses when no candidate holds.
    """
    gates = gates_for(project.release.gates, has_pairs=material.has_pairs)
    files = yield from _files(material, material.model, GGUF_TYPES)
    usable = [name for name in project.release.engines or SERVING if not engines.missing(name)]
    asks = [(file, name) for file in files for name in usable]
    screens = yield tuple(_measure(project, material, file, name, "screen") for file, name in asks)
    found = [verdict(record) for record in screens]
    origin, fulls = yield from _in_full(project, material, files, found, gates)
    winner = pick([verdict(record) for record in fulls], gates).winner
    reports: list[Record] = []
    if winner and material.has_pairs:
        reports = yield from _on_report(project, material, files, winner, origin)
    choose = ChooseSettings(
        project=project.name,
        gates=gates,
        task=project.task.model_dump(mode="json"),
        ground=project.ground.model_dump(mode="json") if project.ground else None,
    )
    inputs = {
        "verdicts": (*screens, *fulls),
        "report": tuple(reports),
        "candidates": tuple(file.candidate for file in files),
        "references": tuple(file.reference for file in files),
        "model": (material.model,),
        "corpus": (material.corpus,),
        "index": (material.index,) if material.index else (),
    }
    (release,) = yield (Node(CHOOSE, choose, inputs),)
    return release


def _files(material: Material, model: Record, types: Sequence[GgufType]) -> Line[list[File]]:
    candidates = yield tuple(
        Node(CONVERT, ConvertSettings(gguf=t), {"model": (model,)}, label=t) for t in types
    )
    references = yield tuple(
        Node(
            REFERENCE,
            ReferenceSettings(),
            {"candidate": (candidate,), "model": (model,), "corpus": (material.corpus,)},
            label=str(candidate.settings["gguf"]),
        )
        for candidate in candidates
    )
    return [File(c, r) for c, r in zip(candidates, references, strict=True)]


def _in_full(
    project: Project,
    material: Material,
    files: Sequence[File],
    screens: Sequence[Verdict],
    gates: dict[str, Gate],
) -> Line[tuple[Verdict | None, list[Record]]]:
    """The finalists in full, after the verdict that their loss is counted from."""
    chosen = finalists(screens, gates, FINALISTS)
    origin = reference(screens) if material.has_pairs else None
    base: tuple[Record, ...] = ()
    against: tuple[Record, ...] = ()
    if chosen and "gain.task" in gates and material.tuned:
        (file,) = yield from _files(material, material.base, (UNQUANTISED,))
        engine = origin.engine if origin else chosen[0].engine
        base = yield (_measure(project, material, file, engine, "full", speed=False, label="base"),)
    if chosen and origin:
        node = _measure(
            project, material, _of(files, origin), origin.engine, "full", base=base, is_reference=True
        )
        against = yield (node,)
    rest = [v for v in chosen if origin is None or v.what != origin.what]
    fulls = yield tuple(
        _measure(project, material, _of(files, v), v.engine, "full", base=base, against=against) for v in rest
    )
    return origin, [*against, *fulls]


def _on_report(
    project: Project, material: Material, files: Sequence[File], winner: Verdict, origin: Verdict | None
) -> Line[list[Record]]:
    """The winner on `report`, after the untuned base and the unquantised file that it is compared with."""
    base: tuple[Record, ...] = ()
    against: tuple[Record, ...] = ()
    if material.tuned:
        (file,) = yield from _files(material, material.base, (UNQUANTISED,))
        engine = origin.engine if origin else winner.engine
        base = yield (_measure(project, material, file, engine, "report", speed=False, label="base"),)
    wins = origin is not None and origin.what == winner.what
    if origin and not wins:
        node = _measure(
            project, material, _of(files, origin), origin.engine, "report", speed=False, is_reference=True
        )
        against = yield (node,)
    node = _measure(
        project,
        material,
        _of(files, winner),
        winner.engine,
        "report",
        base=base,
        against=against,
        is_reference=wins,
    )
    (report,) = yield (node,)
    return [report, *base, *against]


def _of(files: Sequence[File], v: Verdict) -> File:
    return next(file for file in files if file.candidate.id == v.candidate)


def _measure(
    project: Project,
    material: Material,
    file: File,
    engine: str,
    fidelity: Fidelity,
    *,
    base: tuple[Record, ...] = (),
    against: tuple[Record, ...] = (),
    is_reference: bool = False,
    speed: bool = True,
    label: str = "",
) -> Node:
    price = project.machine.usd_per_hour
    mix = project.release.mix
    settings = MeasureSettings(
        engine=engine,
        threads=project.machine.threads or machine.cores(),
        fidelity=fidelity,
        items={"screen": SCREEN_ITEMS, "full": FULL_ITEMS, "report": REPORT_ITEMS}[fidelity],
        task_score=project.task.score or SCORES[project.task.kind],  # type: ignore[arg-type]
        mix=Mix(callers=mix.callers, input_tokens=mix.input_tokens, output_tokens=mix.output_tokens),
        usd_per_hour=float(price) if price is not None else machine.assumed_usd_per_hour(),
        price_is_assumed=price is None,
        passages=project.ground.passages if project.ground else 1,
        speed=speed,
        is_reference=is_reference,
        seed=project.seed,
    )
    inputs = {
        "candidate": (file.candidate,),
        "reference": (file.reference,),
        "corpus": (material.corpus,),
        "base": base,
        "against": against,
        "index": (material.index,) if material.index else (),
    }
    measured_with = {"machine": machine.this().id, **engines.versions(engine)}
    what = " ".join(part for part in (label, str(file.candidate.settings["gguf"])) if part)
    return Node(
        MEASURE, settings, inputs, measured_with=measured_with, label=f"{what} on {engine}, {fidelity}"
    )
