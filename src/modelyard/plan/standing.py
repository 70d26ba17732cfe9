"""What a project's own records say already, each number with the record that it leads back to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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


@dataclass(frozen=True, slots=True)
class Standing:
    """The newest measured facts by name, and the runs; all empty for a project that has made nothing."""

    facts: Mapping[str, tuple[Fact, str]] = field(default_factory=dict)
    """Name to fact and id of its record."""
    tuned: Sequence[Tuned] = ()
    release: str | None = None
    label: str = ""
    """What was released, such as gguf Q8_0 on openvino."""

    def value(self, name: str) -> float | None:
        """The measured value of a fact; None where nobody measured it."""
        return self.facts[name][0].value if name in self.facts else None

    def source(self, name: str) -> str:
        """Where a fact comes from."""
        return f"measured: record {self.facts[name][1]}" if name in self.facts else "not measured"

    @property
    def untuned(self) -> float | None:
        """quality.task of the base before tuning, on the same questions as the release."""
        quality, gain = self.value("quality.task"), self.value("gain.task")
        return quality - gain if quality is not None and gain is not None else None

    @property
    def speed(self) -> Speed | None:
        """How fast the release answers on the machine that measured it."""
        names = ("speed.prefill_tps.c1", "speed.decode_tps.c1", "speed.decode_tps.c8")
        prefill, one, many = (self.value(name) for name in names)
        return measured(prefill, one, many) if prefill and one and many else None


def standing(yard: Yard) -> Standing:
    """Read the yard; the newest record of each step counts."""
    facts: dict[str, tuple[Fact, str]] = {}
    newest = {step: found for step in STEPS if (found := next(iter(yard.find(step=step)), None))}
    for step in STEPS:
        if step in newest:
            kept = newest[step].facts.items()
            facts.update({name: (fact, newest[step].id) for name, fact in kept if fact.value is not None})
    release = newest.get("release.choose")
    label = (
        next((choice.value for choice in release.choices if choice.name == "winner"), "") if release else ""
    )
    runs = [run for record in yard.find(step="train.tune") if (run := _tuned(record)) is not None]
    return Standing(facts, runs, release.id if release else None, label)


def _tuned(record: Record) -> Tuned | None:
    tokens, speed = record.fact("train.tokens").value, record.fact("train.tps").value
    if not tokens or not speed:
        return None
    told = record.settings.get("train") or {}
    method = told.get("method") or {}
    whole = bool(method.get("full")) or ("full" in method and method["full"] is not None)
    return Tuned(record.id, tokens, speed, record.seconds, whole, record.fact("train.roof_share").value)


def parameters_of(base: str) -> float | None:
    """The size that a base's name tells, such as 135e6 of smollm2-135m-instruct."""
    found = re.search(r"(?<![a-z0-9])(\d+(?:\.\d+)?)([mb])(?![a-z0-9])", base.lower())
    return float(found[1]) * {"m": 1e6, "b": 1e9}[found[2]] if found else None
