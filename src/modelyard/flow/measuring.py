"""What a release search works on, and the nodes by which it measures that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .. import engines, machine
from ..project import Project
from ..records.shapes import Record, SourceFiles
from ..release import Verdict
from ..verify.settings import MEASURE, Fidelity, MeasureSettings, Mix, Score
from .files import File
from .node import Node

# Most pairs asked.
ITEMS: dict[Fidelity, int] = {"screen": 0, "partial": 48, "full": 300, "report": 400}
FEWEST_ITEMS = 100  # of a full measurement, however slow the machine: fewer say too little
# What one measurement may take, by the slowest of the verdicts' answers per second at the project's mix; with
# an index about twice that, since pairs are asked with their own passage and with what retrieval finds.
SECONDS: dict[Fidelity, float] = {"full": 30, "report": 45}
SCORES: dict[str, Score] = {"extract": "exact_match", "classify": "exact_match", "chat": "f1"}


@dataclass(frozen=True, slots=True)
class Smaller:
    """A smaller model, and what was done to the tuned one, in order, until it was this."""

    model: Record
    chain: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Material:
    """What the search works on.

    `base` is `model` when nothing was tuned; `smaller` ones compete with it; `sets` are the project's own,
    for the probes.
    """

    corpus: Record
    index: Record | None
    base: Record
    model: Record
    smaller: tuple[Smaller, ...] = ()
    sets: tuple[SourceFiles, ...] = ()

    @property
    def tuned(self) -> bool:
        return self.base.id != self.model.id

    @property
    def has_pairs(self) -> bool:
        return bool(self.corpus.fact("data.pairs.select").value)


Screened: TypeAlias = Mapping[tuple[str, str, int], tuple[File, Record]]


@dataclass(frozen=True, slots=True)
class Measure:
    """Makes nodes of verify.measure for one project."""

    project: Project
    material: Material
    max_loss: float | None = None  # that a gate allows
    candidates: dict[str, Record] = field(default_factory=dict)  # all that were measured, by digest

    @property
    def threads(self) -> int:
        return self.project.machine.threads or machine.cores()

    @staticmethod
    def made_with(*names: str) -> dict[str, str]:
        """What a measurement on these engines depends on besides its inputs: the machine, their versions."""
        found = {"machine": machine.this().id}
        for name in names:
            found |= engines.versions(name)
        return found

    @property
    def mix(self) -> Mix:
        asked = self.project.release.mix
        return Mix(callers=asked.callers, input_tokens=asked.input_tokens, output_tokens=asked.output_tokens)

    def items(self, fidelity: Fidelity, verdicts: Sequence[Verdict]) -> int:
        """How many pairs to ask: as many as the slowest of `verdicts` answers in its time, by fifties."""
        rates = [1000 / seconds for v in verdicts if (seconds := v.number("speed.s_per_1k_answers", 0)) > 0]
        in_time = int(SECONDS[fidelity] * min(rates)) // 50 * 50 if rates else ITEMS[fidelity]
        return min(ITEMS[fidelity], max(FEWEST_ITEMS, in_time))

    def candidate(self, measured: Record) -> Record:
        """What a record of verify.measure is about. It may tell of an earlier attempt at the same bytes."""
        return self.candidates[measured.json("verdict.json")["candidate"]]

    def again(self, screened: Screened, v: Verdict, fidelity: Fidelity, items: int, **options: Any) -> Node:
        """The same file on the same engine as the screen `v`, at another fidelity."""
        file, earlier = screened[v.what]
        return self(file, v.engine, fidelity, items, earlier=earlier, **options)

    def __call__(
        self,
        file: File,
        engine: str,
        fidelity: Fidelity,
        items: int,
        *,
        earlier: Record | None = None,
        base: tuple[Record, ...] = (),
        against: tuple[Record, ...] = (),
        is_reference: bool = False,
        decides_loss: bool = True,
        label: str = "",
    ) -> Node:
        project, material = self.project, self.material
        settings = MeasureSettings(
            engine=engine,
            threads=self.threads,
            fidelity=fidelity,
            items=items,
            max_loss=self.max_loss if fidelity in SECONDS and decides_loss else None,
            most=ITEMS[fidelity],
            task_score=project.task.score or SCORES[project.task.kind],
            mix=self.mix,
            passages=project.ground.passages if project.ground else 1,
            speed=fidelity == "screen",
            is_reference=is_reference,
            seed=project.seed,
        )
        self.candidates[file.candidate.digest] = file.candidate
        inputs = {
            "candidate": (file.candidate,),
            "reference": (file.reference,),
            "corpus": (material.corpus,),
            "earlier": (earlier,) if earlier else (),
            "base": base,
            "against": against,
            "index": (material.index,) if material.index else (),
        }
        what = f"{label} {file.label} on {engine}, {fidelity}".strip()
        return Node(MEASURE, settings, inputs, measured_with=self.made_with(engine), label=what)
