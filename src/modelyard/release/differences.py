"""What changed between two releases: recipe, engine, gates, facts with intervals, and what they came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..records.facts import FACTS
from ..records.shapes import Fact, Record

NONE = "-"


@dataclass(frozen=True, slots=True)
class Changed:
    """One thing that differs. `apart`: "yes" where the intervals of a fact do not meet, "no" otherwise."""

    what: str
    before: str
    after: str
    apart: str = ""


def differences(a: Record, b: Record) -> list[Changed]:
    """The rows: settings first, then what it was made from, then facts in their order."""
    return [*_told(a, b), *_inputs(a, b), *_facts(a, b)]


def _told(a: Record, b: Record) -> Iterator[Changed]:
    before, after = _flat(a.json("release.json")), _flat(b.json("release.json"))
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield Changed(name, str(before.get(name, NONE)), str(after.get(name, NONE)))


def _flat(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a release is told and decided: engine, recipe, task, and each gate with its limit and result."""
    found = {name: told.get(name) for name in ("engine", "threads", "max_answer_tokens", "score_limit")}
    for block in ("recipe", "task", "ground"):
        found |= {f"{block}.{name}": value for name, value in (told.get(block) or {}).items()}
    for gate in told["gates"]:
        result = "excused" if gate.get("excused") else "held" if gate["passed"] else "failed"
        found[f"gate {gate['gate']}"] = f"{gate['kind']} {gate['limit']:g}, {result}"
    return found


def _inputs(a: Record, b: Record) -> Iterator[Changed]:
    for role in ("corpus", "index"):
        before, after = (", ".join(one.inputs.get(role, ())) or NONE for one in (a, b))
        if before != after:
            yield Changed(role, before, after)
    for name in ("base.json", "config.json", "tokenizer.json", "chat_template.jinja"):
        sums = [one.files[name].sha256[:12] if name in one.files else NONE for one in (a, b)]
        if sums[0] != sums[1]:
            yield Changed(name, *sums)


def _facts(a: Record, b: Record) -> Iterator[Changed]:
    for name in FACTS:
        one, other = a.facts.get(name), b.facts.get(name)
        if (one or other) is None or (one and other and one.value == other.value):
            continue
        yield Changed(name, _value(one), _value(other), _apart(one, other))


def _value(fact: Fact | None) -> str:
    if fact is None or fact.value is None:
        return "unmeasured"
    interval = "" if fact.low is None or fact.high is None else f" [{fact.low:.3g}, {fact.high:.3g}]"
    return f"{fact.value:.4g}{interval}"


def _apart(a: Fact | None, b: Fact | None) -> str:
    """Whether the intervals do not meet; nothing where one has none."""
    if a is None or b is None or a.low is None or a.high is None or b.low is None or b.high is None:
        return ""
    return "no" if a.low <= b.high and b.low <= a.high else "yes"
