"""A gate over facts: kept or not, by which number, and why. What was not measured is not kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..records.facts import FACTS
from ..records.shapes import Fact
from .settings import Gate

LOSS_FACT = "loss.task"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A gate held against a fact: `bound` is the number that was compared with `limit`.

    `excused`: who answers for a gate that is missed, why, and until when; it then passes.
    """

    gate: str
    kind: str  # "min", "max" or "max_loss"
    value: float | None
    bound: float | None
    limit: float
    passed: bool
    why: str
    excused: str = ""


def always(limits: Mapping[str, float]) -> dict[str, Gate]:
    """The gates that no project can do without: the file is the model, and the engine runs it right.

    `limits`: those of a verdict, which depend on its file type and engine.
    """
    return {"parity.identity": Gate(max=0)} | {
        name: Gate(max=limit) for name, limit in sorted(limits.items())
    }


def judge(facts: Mapping[str, Fact], gates: Mapping[str, Gate]) -> list[Judgement]:
    """Hold every gate against its fact, shares by the unfavourable bound of their interval."""
    return [_judge(name, gate, _fact(facts, name, gate)) for name, gate in gates.items()]


def clearly_failed(facts: Mapping[str, Fact], gates: Mapping[str, Gate]) -> list[Judgement]:
    """The gates that a screen's few questions suffice to fail: shares by the favourable bound.

    What is measured in full or in the race only may still be kept; anything else unmeasured is failed.
    """
    failed = []
    for name, gate in gates.items():
        fact = _fact(facts, name, gate)
        later = fact.unit == "share" or is_raced(name)  # probes measure shares alone
        if later and fact.value is None:
            continue
        found = _judge(name, gate, fact, favourable=True)
        if not found.passed:
            failed.append(found)
    return failed


def likely(facts: Mapping[str, Fact], gates: Mapping[str, Gate]) -> bool:
    """Whether the estimates of all measured shares, their intervals aside, keep their gates."""
    for name, gate in gates.items():
        fact = _fact(facts, name, gate)
        if gate.excuse is not None:
            continue
        if fact.unit == "share" and fact.value is not None and not _keeps(fact.value, gate):
            return False
    return True


def is_raced(name: str) -> bool:
    """Whether the fact is measured in the race of the finalists, or follows from what is."""
    return name.startswith(("speed.", "latency.", "cost."))


def _fact(facts: Mapping[str, Fact], name: str, gate: Gate) -> Fact:
    asked = LOSS_FACT if gate.kind == "max_loss" else name
    return facts.get(asked) or Fact(None, FACTS[asked].unit, why=f"no step measured {asked}")


def _judge(name: str, gate: Gate, fact: Fact, *, favourable: bool = False) -> Judgement:
    found = _held(name, gate, fact, favourable=favourable)
    if found.passed or gate.excuse is None:
        return found
    told = f"{gate.excuse.by} answers for it until {gate.excuse.until}: {gate.excuse.reason}"
    return replace(found, passed=True, excused=told)


def _held(name: str, gate: Gate, fact: Fact, *, favourable: bool) -> Judgement:
    if fact.value is None:
        return Judgement(name, gate.kind, None, None, gate.limit, False, f"unmeasured: {fact.why}")
    bound, which = fact.value, "value"
    if fact.unit == "share":
        lower = (gate.kind == "min") is not favourable
        end = fact.low if lower else fact.high
        if end is not None:
            bound, which = end, f"{'lower' if lower else 'upper'} bound of the {fact.level or 0:.0%} interval"
    passed = _keeps(bound, gate)
    sign = "at least" if gate.kind == "min" else "at most"
    why = f"{which} {bound:.4g}, {sign} {gate.limit:g}"
    if gate.kind == "max_loss" and not passed and fact.value <= gate.limit:
        why = f"undecided: {why} ({fact.why})"  # it may be no worse: these questions cannot tell
    return Judgement(name, gate.kind, fact.value, bound, gate.limit, passed, why)


def _keeps(number: float, gate: Gate) -> bool:
    return number >= gate.limit if gate.kind == "min" else number <= gate.limit
