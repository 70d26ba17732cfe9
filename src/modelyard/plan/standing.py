"""What a project's own records say already, each number with the record that it leads back to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .. import machine
from ..estimate.serving import Speed, measured
from ..records.shapes import Fact, Record
from ..records.yard import Yard

STEPS = ("data.prepare", "data.index", "train.base", "train.tune", "release.choose")


@dataclass(frozen=True, slots=True)
class Tuned:
    """One training run of the yard."""

    record: str
    tokens: float
    tokens_per_s: float
    seconds: float
    whole: bool
    """Whether all weights learnt."""
    roof_share: float | None
    here: bool = True
    """Whether it ran on a machine of this make."""


@dataclass(frozen=True, slots=True)
class Raced:
    """A file on an engine, as the yard's newest race measured it: seconds of a step by callers."""

    engine: str
    format: str
    type: str
    size_mib: float
    step_s: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Standing:
    """The newest measured facts by name, and the runs; all empty for a project that has made nothing."""

    facts: Mapping[str, tuple[Fact, str]] = field(default_factory=dict)
    """Name to fact and id of its record."""
    tuned: Sequence[Tuned] = ()
    release: str | None = None
    released_here: bool = True
    """Whether the release was measured on a machine of this make."""
    raced: Sequence[Raced] = ()
    label: str = ""
    """What was released, such as gguf Q8_0 on openvino."""
    untuned: tuple[float, str] | None = None
    """quality.task of the base before tuning, on the same questions as the release, and its record."""

    def value(self, name: str) -> float | None:
        """The measured value of a fact; None where nobody measured it."""
        return self.facts[name][0].value if name in self.facts else None

    def source(self, name: str) -> str:
        """Where a fact comes from."""
        return f"measured: record {self.facts[name][1]}" if name in self.facts else "not measured"

    @property
    def speed(self) -> Speed | None:
        """How fast the release answers here; None where another machine measured it, or none."""
        if not self.released_here:
            return None
        names = ("speed.prefill_tps.c1", "speed.decode_tps.c1", "speed.decode_tps.c8")
        prefill, one, many = (self.value(name) for name in names)
        return measured(prefill, one, many) if prefill and one and many else None


def standing(yard: Yard) -> Standing:
    """Read the yard; the newest record of each step counts."""
    facts: dict[str, tuple[Fact, str]] = {}
    newest = {step: found for step in STEPS if (found := _newest(yard, step))}
    for step in STEPS:
        if step in newest:
            kept = newest[step].facts.items()
            facts.update({name: (fact, newest[step].id) for name, fact in kept if fact.value is not None})
    release = newest.get("release.choose")
    label = (
        next((choice.value for choice in release.choices if choice.name == "winner"), "") if release else ""
    )
    runs = [run for record in yard.find(step="train.tune") if (run := _tuned(record)) is not None]
    made_here = release is None or _is_here(release)
    base = _untuned(yard, release) if release else None
    return Standing(facts, runs, release.id if release else None, made_here, _raced(yard), label, base)


def _untuned(yard: Yard, release: Record) -> tuple[float, str] | None:
    """What the release's own verdict compared it with; None where nobody asked the base, or it was swept."""
    verdicts = [one for id in release.inputs.get("report", ()) for one in yard.find(id=id)]
    bases = [one for verdict in verdicts for id in verdict.inputs.get("base", ()) for one in yard.find(id=id)]
    values = [(value, base.id) for base in bases if (value := base.fact("quality.task").value) is not None]
    return next(iter(values), None)


def _is_here(record: Record) -> bool:
    return (record.environment.get("machine") or {}).get("id") == machine.this().id


def _newest(yard: Yard, step: str) -> Record | None:
    """Trials of a search and calibrations left out: they are not the project's model."""
    return next((one for one in yard.find(step=step) if not one.settings.get("trial")), None)


def _tuned(record: Record) -> Tuned | None:
    tokens, speed = record.fact("train.tokens").value, record.fact("train.tps").value
    if not tokens or not speed:
        return None
    told = record.settings.get("train") or {}
    method = told.get("method") or {}
    whole = bool(method.get("full")) or ("full" in method and method["full"] is not None)
    share = record.fact("train.roof_share").value
    return Tuned(record.id, tokens, speed, record.seconds, whole, share, _is_here(record))


def _raced(yard: Yard) -> list[Raced]:
    """Everything that ran in the newest race; nothing before there was one."""
    race = next(iter(yard.find(step="verify.race")), None)
    if race is None:
        return []
    candidates = {one.digest: one for one in yard.find(step="optimize.convert")}
    found = []
    for told in race.json("race.json")["contenders"]:
        candidate, facts = candidates.get(told["candidate"]), told["facts"]
        steps = {
            callers: callers / rate
            for callers in (1, 8)
            if (rate := facts.get(f"speed.decode_tps.c{callers}", {}).get("value"))
        }
        size = candidate.fact("candidate.size_mib").value if candidate else None
        if candidate is not None and size and len(steps) == 2:
            format, _, type = str(candidate.settings["file"]).partition(" ")
            found.append(Raced(told["engine"], format, type, size, steps))
    return found


def parameters_of(base: str) -> float | None:
    """The size that a base's name tells, such as 135e6 of smollm2-135m-instruct."""
    found = re.search(r"(?<![a-z0-9])(\d+(?:\.\d+)?)([mb])(?![a-z0-9])", base.lower())
    return float(found[1]) * {"m": 1e6, "b": 1e9}[found[2]] if found else None
