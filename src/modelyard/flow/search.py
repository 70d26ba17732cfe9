"""The release search: screen every candidate, measure few in full, score one winner once on `report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from .. import engines, machine
from ..errors import MissingPackage
from ..optimize.settings import CONVERT, GGUF_TYPES, ConvertSettings, GgufType
from ..project import Project
from ..records.shapes import Record
from ..release import Verdict, finalists, gates_for, pick, reference, verdict
from ..release.settings import CHOOSE, ChooseSettings
from ..verify.settings import MEASURE, REFERENCE, Fidelity, MeasureSettings, Mix, ReferenceSettings, Score
from .node import Line, Node

ITEMS: dict[Fidelity, int] = {"screen": 48, "full": 300, "report": 400}  # most pairs asked
FEWEST_ITEMS = 100  # of a full measurement, however slow the machine: fewer say too little
# What one measurement may take, by the slowest of the verdicts' answers per second at the project's mix.
SECONDS: dict[Fidelity, float] = {"full": 60, "report": 90}
FINALISTS = 2
REFERENCE_ITEMS = 32  # prompts on which a file is held against its model
BASE_ITEMS = 4  # the untuned base is compared with, never released
UNQUANTISED: GgufType = "F16"
SERVING = ("openvino", "llamacpp")  # engines that a release may be served by; torch is the reference
SCORES: dict[str, Score] = {"extract": "exact_match", "classify": "exact_match", "chat": "f1"}


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
    files = yield from _files(material, material.model, GGUF_TYPES, REFERENCE_ITEMS)
    usable = usable_engines(project)
    measure = _Measure(project, material)
    asks = [(file, engine) for file in files for engine in usable]
    screens = yield tuple(measure(file, engine, "screen", ITEMS["screen"]) for file, engine in asks)
    found = [verdict(record) for record in screens]
    screened = {v.what: (file, record) for v, (file, _), record in zip(found, asks, screens, strict=True)}

    chosen = finalists(found, gates, FINALISTS)
    origin = reference(found) if material.has_pairs else None
    items = _items("full", [*chosen, *([origin] if origin else [])])
    base: tuple[Record, ...] = ()
    against: tuple[Record, ...] = ()
    if chosen and "gain.task" in gates and material.tuned:
        base = yield from _base(measure, origin or chosen[0], "full", items)
    if chosen and origin:
        against = yield (measure.again(screened, origin, "full", items, base=base, is_reference=True),)
    rest = [v for v in chosen if origin is None or v.what != origin.what]
    fulls = yield tuple(measure.again(screened, v, "full", items, base=base, against=against) for v in rest)

    winner = pick([verdict(record) for record in (*against, *fulls)], gates).winner
    reports: tuple[Record, ...] = ()
    if winner and material.has_pairs:
        reports = yield from _on_report(measure, screened, winner, origin)
    choose = ChooseSettings(
        project=project.name,
        gates=gates,
        task=project.task.model_dump(mode="json"),
        ground=project.ground.model_dump(mode="json") if project.ground else None,
    )
    inputs = {
        "verdicts": (*screens, *against, *fulls),
        "report": reports,
        "candidates": tuple(file.candidate for file in files),
        "corpus": (material.corpus,),
        "index": (material.index,) if material.index else (),
    }
    (release,) = yield (Node(CHOOSE, choose, inputs),)
    return release


def usable_engines(project: Project) -> list[str]:
    """The engines to measure on. Raises MissingPackage for a named one that is not installed, or for none."""
    lacking = {name: engines.missing(name) for name in project.release.engines or SERVING}
    absent = [why for why in lacking.values() if why]
    if absent and (project.release.engines or len(absent) == len(lacking)):
        raise MissingPackage(absent[0], try_=absent[0].partition(": ")[2])
    return [name for name, why in lacking.items() if not why]


def _items(fidelity: Fidelity, verdicts: Sequence[Verdict]) -> int:
    """How many pairs to ask: as many as the slowest of `verdicts` answers in its time, by fifties."""
    rates = [1000 / seconds for v in verdicts if (seconds := v.number("speed.s_per_1k_answers", 0)) > 0]
    asked = int(SECONDS[fidelity] * min(rates)) // 50 * 50 if rates else ITEMS[fidelity]
    return min(ITEMS[fidelity], max(FEWEST_ITEMS, asked))


def _files(material: Material, model: Record, types: Sequence[GgufType], items: int) -> Line[list[File]]:
    """`model` in each file type, each with its reference."""
    candidates = yield tuple(
        Node(CONVERT, ConvertSettings(gguf=t), {"model": (model,)}, label=t) for t in types
    )
    references = yield tuple(
        Node(
            REFERENCE,
            ReferenceSettings(items=items),
            {"candidate": (candidate,), "model": (model,), "corpus": (material.corpus,)},
            label=str(candidate.settings["gguf"]),
        )
        for candidate in candidates
    )
    return [File(c, r) for c, r in zip(candidates, references, strict=True)]


def _base(measure: _Measure, like: Verdict, fidelity: Fidelity, items: int) -> Line[tuple[Record, ...]]:
    """The untuned base, unquantised, on the engine of `like`: what the gain is counted from."""
    material = measure.material
    (file,) = yield from _files(material, material.base, (UNQUANTISED,), BASE_ITEMS)
    return (yield (measure(file, like.engine, fidelity, items, speed=False, label="base"),))


def _on_report(
    measure: _Measure, screened: Screened, winner: Verdict, origin: Verdict | None
) -> Line[tuple[Record, ...]]:
    """The winner on `report`, after the untuned base and the unquantised file that it is compared with."""
    items = _items("report", [winner, *([origin] if origin else [])])
    base: tuple[Record, ...] = ()
    against: tuple[Record, ...] = ()
    if measure.material.tuned:
        base = yield from _base(measure, origin or winner, "report", items)
    wins = origin is not None and origin.what == winner.what
    if origin and not wins:
        node = measure.again(screened, origin, "report", items, speed=False, is_reference=True)
        against = yield (node,)
    node = measure.again(screened, winner, "report", items, base=base, against=against, is_reference=wins)
    (report,) = yield (node,)
    return (report, *base, *against)


Screened: TypeAlias = Mapping[tuple[str, str, int], tuple[File, Record]]


@dataclass(frozen=True, slots=True)
class _Measure:
    """Makes nodes of verify.measure for one project."""

    project: Project
    material: Material

    def again(self, screened: Screened, v: Verdict, fidelity: Fidelity, items: int, **options: Any) -> Node:
        """The same file on the same engine as the screen `v`, at another fidelity."""
        file, screen = screened[v.what]
        return self(file, v.engine, fidelity, items, screen=screen, **options)

    def __call__(
        self,
        file: File,
        engine: str,
        fidelity: Fidelity,
        items: int,
        *,
        screen: Record | None = None,
        base: tuple[Record, ...] = (),
        against: tuple[Record, ...] = (),
        is_reference: bool = False,
        speed: bool = True,
        label: str = "",
    ) -> Node:
        project, material = self.project, self.material
        price = project.machine.usd_per_hour
        mix = project.release.mix
        settings = MeasureSettings(
            engine=engine,
            threads=project.machine.threads or machine.cores(),
            fidelity=fidelity,
            items=items,
            task_score=project.task.score or SCORES[project.task.kind],
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
            "screen": (screen,) if screen else (),
            "base": base,
            "against": against,
            "index": (material.index,) if material.index else (),
        }
        what = f"{label} {file.candidate.settings['gguf']} on {engine}, {fidelity}".strip()
        measured_with = {"machine": machine.this().id, **engines.versions(engine)}
        return Node(MEASURE, settings, inputs, measured_with=measured_with, label=what)
