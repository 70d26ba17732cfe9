"""Which verdict is released: the cheapest whose gates hold. Pure: verdicts and gates in, a pick out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..records.shapes import Fact, Record
from .again import SURE, chance
from .cost import SECONDS, Price, cost
from .gates import Judgement, always, clearly_failed, is_raced, judge, likely
from .settings import Gate

EQUAL_COST = 1.03  # costs so close are equal: two runs of one engine differ by as much
COST = "cost.usd_per_1k_answers"
UNQUANTISED = ("F16", "F32", "fp32")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verify.measure found for one candidate on one engine."""

    id: str
    candidate: str  # digest of its files
    recipe: Mapping[str, Any]
    engine: str
    threads: int
    fidelity: str
    split: str
    has_pairs: bool
    max_answer_tokens: int
    facts: Mapping[str, Fact]
    limits: Mapping[str, float]

    @property
    def label(self) -> str:
        """A name for tables, such as "26 layers, distilled, gguf Q4_0 on openvino"."""
        file = f"{self.recipe['format']} {self.recipe['type']}"
        return f"{', '.join((*self.recipe.get('chain', ()), file))} on {self.engine}"

    @property
    def tuned(self) -> str:
        """Digest of the tuned model that the file was made from, in whatever steps."""
        return str(self.recipe.get("tuned", self.recipe["model"]))

    @property
    def what(self) -> tuple[str, str, int]:
        """Candidate, engine, threads: the same at every fidelity."""
        return self.candidate, self.engine, self.threads

    def number(self, name: str, otherwise: float) -> float:
        """A fact's value, or `otherwise` where it was not measured."""
        fact = self.facts.get(name)
        return otherwise if fact is None or fact.value is None else fact.value


@dataclass(frozen=True, slots=True)
class Row:
    """A verdict held against the gates."""

    verdict: Verdict
    judgements: tuple[Judgement, ...]
    chance: float  # that the gates hold on other questions, too

    @property
    def failed(self) -> tuple[Judgement, ...]:
        """The gates that do not hold; speed, which is raced only where all others do, is not one of them."""
        lost = tuple(one for one in self.judgements if not one.passed)
        return tuple(one for one in lost if not is_raced(one.gate) or one.value is not None) or lost


@dataclass(frozen=True, slots=True)
class Pick:
    """The winner, or None when no gate-keeping verdict was found; `rows` hold every full verdict."""

    winner: Verdict | None
    rows: tuple[Row, ...]
    why: str
    passed_over: tuple[Row, ...] = ()  # cheaper than the winner, but less likely to hold on `report`


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a candidate on an engine: its last verdict, the gates it failed, and why it is out."""

    verdict: Verdict
    failed: tuple[Judgement, ...]
    out: str  # "" for the winner


Raced = Mapping[tuple[str, str, int], Mapping[str, Fact]]


def probed(records: Sequence[Record]) -> Raced:
    """What verify.probe found, by candidate, engine and threads."""
    told = [(record, record.json("probe.json")) for record in records]
    return {(one["candidate"], one["engine"], one["threads"]): record.facts for record, one in told}


def raced(record: Record) -> Raced:
    """What verify.race found, by candidate, engine and threads."""
    return {
        (one["candidate"], one["engine"], one["threads"]): {
            name: Fact(**fact) for name, fact in one["facts"].items()
        }
        for one in record.json("race.json")["contenders"]
    }


def looks_up(facts: Mapping[str, Fact]) -> bool:
    """Whether verify.lookup found prompt lookup worth serving with: every answer the same, sooner for one
    caller for certain, and no slower with the mix's callers.
    """
    same, alone, together = (facts.get(f"lookup.{name}") for name in ("same", "speedup.c1", "speedup.mix"))
    return (
        same is not None
        and same.value == 1
        and alone is not None
        and (alone.low or 0) > 1
        and together is not None
        and (together.value or 0) >= 1 / EQUAL_COST
    )


def verdict(record: Record, price: Price, race: Raced | None = None, probes: Raced | None = None) -> Verdict:
    """A record of verify.measure as a verdict, its cost at `price`.

    A full one has its speed from `race`, and how it behaves from `probes`.
    """
    told = record.json("verdict.json")
    what = (told["candidate"], told["engine"], told["threads"])
    facts = dict(record.facts)
    if told["fidelity"] == "full":
        facts |= {**(probes or {}).get(what, {}), **(race or {}).get(what, {})}
    facts |= cost(facts[SECONDS], told["mix"], price.of(told["engine"]))
    return Verdict(
        id=record.id,
        candidate=told["candidate"],
        recipe=told["recipe"],
        engine=told["engine"],
        threads=told["threads"],
        fidelity=told["fidelity"],
        split=told["split"],
        has_pairs=told["has_pairs"],
        max_answer_tokens=told["max_answer_tokens"],
        facts=facts,
        limits=told["limits"],
    )


def pick(verdicts: Sequence[Verdict], gates: Mapping[str, Gate]) -> Pick:
    """Among the full verdicts whose gates hold, and are SURE to hold on `report`, the cheapest; of equal
    cost, the better. Where none is sure, the likeliest to hold.

    Better is a higher quality.task, or for a project without pairs a lower parity.kl. A verdict without a
    cost is not released: nobody could say what it is to be preferred to.
    """
    full = sorted((v for v in verdicts if v.fidelity == "full"), key=lambda v: v.id)
    rows = tuple(
        Row(v, tuple(judge(v.facts, {**always(v.limits), **gates})), chance(v.facts, gates)) for v in full
    )
    held = [row for row in rows if not row.failed and row.verdict.number(COST, -1) >= 0]
    if not held:
        why = (
            "no candidate was measured in full"
            if not full
            else f"none of {len(full)} candidates keeps every gate"
        )
        return Pick(None, rows, why)
    likeliest = max(row.chance for row in held)
    sure = [row.verdict for row in held if row.chance >= min(SURE, likeliest)]
    cheapest = min(v.number(COST, 0) for v in sure)
    equal = [v for v in sure if v.number(COST, 0) <= cheapest * EQUAL_COST]
    winner = min(equal, key=_worse)
    why = f"the cheapest of {len(held)} that keep every gate"
    if likeliest < SURE:
        why = (
            f"the likeliest of {len(held)} to keep every gate on report, too, though only by {likeliest:.0%}"
        )
    why += f": {winner.number(COST, 0):.4g} USD/1k answers"
    if len(equal) > 1:
        by = "quality.task" if winner.has_pairs else "parity.kl"
        why += f"; {len(equal)} cost the same within 3%, and it has the best {by}"
    less, dearest = [row for row in held if row.verdict not in sure], winner.number(COST, 0)
    passed_over = tuple(row for row in less if row.verdict.number(COST, 0) < dearest)
    for row in passed_over:
        why += f"; {row.verdict.label} is cheaper, but would hold on report with {row.chance:.0%} only"
    return Pick(winner, rows, why, passed_over)


def outcomes(verdicts: Sequence[Verdict], gates: Mapping[str, Gate], choice: Pick) -> list[Outcome]:
    """Every candidate on every engine, the winner first, then by cost: nothing vanishes on the way."""
    found = [Outcome(row.verdict, row.failed, _out(row, choice)) for row in choice.rows]
    last = {outcome.verdict.what for outcome in found}
    for fidelity in ("partial", "screen"):
        for v in verdicts:
            if v.fidelity == fidelity and v.what not in last:
                last.add(v.what)
                failed = tuple(clearly_failed(v.facts, {**always(v.limits), **gates}))
                found.append(Outcome(v, failed, "a gate" if failed else "others were cheaper or likelier"))
    return sorted(found, key=lambda o: (bool(o.out), *_dearer(o.verdict)))


def _out(row: Row, choice: Pick) -> str:
    if choice.winner is not None and row.verdict.what == choice.winner.what:
        return ""
    if row.failed:
        return "a gate"
    return "too likely to fail on report" if row in choice.passed_over else "dearer than the winner"


def cheaper(screens: Sequence[Verdict], gates: Mapping[str, Gate], fewest: int = 4) -> list[Verdict]:
    """The cheaper half of the screens that fail no gate for certain, cheapest first; `fewest` at least."""
    left = sorted(_open(screens, gates), key=_dearer)
    return left[: max(fewest, math.ceil(len(left) / 2))]


def queue(seen: Sequence[Verdict], gates: Mapping[str, Gate]) -> list[Verdict]:
    """Those of `seen` worth measuring in full, in the order in which it should be done.

    Those that fail a gate for certain are out. Of the others the cheapest, those first whose estimates keep
    the gates on quality; each of another file while there are several, for engines hardly change quality.
    """
    left = sorted(_open(seen, gates), key=lambda v: (not likely(v.facts, gates), *_dearer(v)))
    files: set[str] = set()
    first: list[Verdict] = []
    for v in left:
        if v.candidate not in files:
            files.add(v.candidate)
            first.append(v)
    return first + [v for v in left if v not in first]


def is_settled(seen: Sequence[Verdict], gates: Mapping[str, Gate], count: int) -> bool:
    """Whether the first `count` of the queue stay the same whatever dearer ones than `seen` would answer:
    there are as many files whose estimates keep the gates.
    """
    return len({v.candidate for v in _open(seen, gates) if likely(v.facts, gates)}) >= count


def holds(v: Verdict, gates: Mapping[str, Gate]) -> bool:
    """Whether a full verdict keeps every gate but those on speed, which the race has yet to measure."""
    asked = {name: gate for name, gate in {**always(v.limits), **gates}.items() if not is_raced(name)}
    return all(judgement.passed for judgement in judge(v.facts, asked))


def is_enough(fulls: Sequence[Verdict], gates: Mapping[str, Gate], count: int) -> bool:
    """Whether `count` of the full verdicts hold, and one of them is SURE to hold on `report`."""
    held = [v for v in fulls if holds(v, gates)]
    return len(held) >= count and any(chance(v.facts, gates) >= SURE for v in held)


def _open(seen: Sequence[Verdict], gates: Mapping[str, Gate]) -> list[Verdict]:
    return [v for v in seen if not clearly_failed(v.facts, {**always(v.limits), **gates})]


def reference(screens: Sequence[Verdict]) -> Verdict | None:
    """The screen that task loss is counted from: the unquantised file on its cheapest engine that is right.

    It is the tuned model's own: what a pruned one has lost is counted, too.
    None when no engine does: task loss then stays unmeasured.
    """
    right = [
        v
        for v in screens
        if v.recipe["type"] in UNQUANTISED
        and v.tuned == v.recipe["model"]
        and not clearly_failed(v.facts, always(v.limits))
    ]
    return min(right, key=_dearer, default=None)


def _dearer(v: Verdict) -> tuple[float, str]:
    return v.number(COST, float("inf")), v.id


def _worse(v: Verdict) -> tuple[float, float, str]:
    better = -v.number("quality.task", -1) if v.has_pairs else v.number("parity.kl", float("inf"))
    return better, *_dearer(v)
