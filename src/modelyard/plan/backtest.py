"""Predict the rows of a table of training runs from their technical inputs, and score what was reported."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist, median, stdev

from .. import intervals
from . import memory
from .cases import Case, published
from .devices import Device, find
from .utilisation import (
    DEVICES,
    SEQUENCE,
    YEAR,
    Utilisation,
    flop_per_token,
    is_frozen,
    is_sure,
    is_whole,
    reported,
    without,
)

SHARE = 0.8  # of the reported values that the intervals should hold
Z = NormalDist().inv_cdf(0.5 + SHARE / 2)
FEWEST = 3  # runs of a device for a spread of its own in the baseline
SPREAD = 0.35  # standard deviation of the logarithm, that of A100s (0.32) and H100s (0.35)


@dataclass(frozen=True, slots=True)
class Range:
    """A median with its interval of SHARE."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Timed:
    """Device hours and rate of a case; None with the reason in `gaps`, which also tells what was assumed."""

    hours: Range | None
    tokens_per_s: Range | None
    utilisation: Utilisation | None
    device: Device | None
    gaps: Sequence[str]


@dataclass(frozen=True, slots=True)
class Row:
    """What is predicted of a case; None with its reason in `why`."""

    name: str
    gpu_hours: Range | None
    tokens_per_s: Range | None
    memory_gib: float | None
    """Of one device, at its peak."""
    cost_usd: float | None
    why: str
    utilisation: Utilisation | None


@dataclass(frozen=True, slots=True)
class Score:
    """Of the rows whose value was reported: factors are of the larger to the smaller.

    `crps` is of the logarithm, in nats, `baseline` the same for one utilisation a device; `gain` is their
    paired difference, positive where the baseline is worse.
    """

    rows: int
    median_factor: float
    within_1_25: float
    within_1_5: float
    coverage: float
    width_factor: float
    """The interval's upper end to its lower end, the median over the rows."""
    crps: float
    baseline_median_factor: float
    baseline_within_1_5: float
    baseline_crps: float
    gain: float
    gain_interval: tuple[float, float] | None
    """At 95%; None for one row, of which nothing is known between rows."""


def timed(case: Case) -> Timed:
    """Hours and rate of one row. Only `case.technical` is read."""
    device, each = find(case.hardware), flop_per_token(case)
    found = without(known_family(case)).predict(case)
    gaps = _gaps(case, device)
    if device is None or each is None or found is None:
        return Timed(None, None, None, device, gaps)
    rate = _range(device.tflops_16bit * 1e12 / each, found)
    hours = None
    if case.tokens is not None:
        hours = Range(*(case.tokens / 3600 / per_s for per_s in (rate.value, rate.high, rate.low)))
    return Timed(hours, rate, found, device, gaps)


def predict(case: Case) -> Row:
    """One row, its memory and its cost too."""
    found, cost = timed(case), None
    if found.device is None or found.utilisation is None:
        return Row(case.name, None, None, None, None, "; ".join(found.gaps), None)
    memory_gib, assumed = memory.predict(case, found.device)
    if found.hours is not None and found.device.rent_usd_per_hour is not None:
        cost = found.hours.value * found.device.rent_usd_per_hour[1]
    why = "; ".join([*found.gaps, *assumed])
    return Row(case.name, found.hours, found.tokens_per_s, memory_gib, cost, why, found.utilisation)


def known_family(case: Case) -> str | None:
    """The family of a published case with the same technical inputs.

    It is left out when such a row is predicted: a row is never predicted from itself or from its kin.
    """
    return _families().get(case.technical)


@cache
def _families() -> dict[tuple[object, ...], str]:
    return {one.technical: one.family for one in published()}


def _range(scale: float, found: Utilisation) -> Range:
    return Range(scale * found.share(), scale * found.share(-Z), scale * found.share(Z))


def _gaps(case: Case, device: Device | None) -> list[str]:
    """What the row does not tell, and what is taken instead."""
    gaps = []
    if device is None:
        gaps.append(
            f"no device of the catalogue is called {case.hardware!r}" if case.hardware else "no hardware"
        )
    if case.active is None:
        gaps.append("no parameters")
    if device is None or case.active is None:
        return gaps
    if case.tokens is None:
        gaps.append("no tokens, so no hours and no cost")
    elif device.rent_usd_per_hour is None:
        gaps.append(f"no price of {device.name}, so no cost")
    if case.total is not None and case.active > case.total:
        gaps.append("more parameters meet a token than there are")
    if not re.search(r"16|32|fp8|int8|int4|4bit|nf4|mixed|amp", case.precision):
        gaps.append(
            f"nothing is known of {case.precision!r}: 16 bits assumed"
            if case.precision
            else "16 bits assumed"
        )
    if case.sequence is None:
        gaps.append(f"sequences of {SEQUENCE:.0f} tokens assumed")
    if case.devices is None:
        gaps.append(f"{DEVICES:.0f} devices assumed")
    if case.year is None:
        gaps.append(f"the year {YEAR:.0f} assumed")
    if is_frozen(case):
        gaps.append("no published rate of adapters: wider by 20%")
    return gaps


def score(cases: Sequence[Case], rows: Sequence[Row]) -> Score | None:
    """How far off the rows are from what was reported; None where nothing was."""
    told = [
        (case, row.utilisation, math.log(share))
        for case, row in zip(cases, rows, strict=True)
        if row.utilisation is not None and (share := reported(case)) is not None
    ]
    if not told:
        return None
    base = [constant(case) for case, _, _ in told]
    # Rows of one family are off together; where a table names nobody, each row stands for itself.
    kin = [case.family or f"row {at}" for at, (case, _, _) in enumerate(told)]
    off = [abs(true - found.log) for _, found, true in told]
    base_off = [abs(true - one.log) for one, (_, _, true) in zip(base, told, strict=True)]
    ours = [crps(found, true) for _, found, true in told]
    theirs = [crps(one, true) for one, (_, _, true) in zip(base, told, strict=True)]
    better = [b - a for a, b in zip(ours, theirs, strict=True)]
    among = intervals.ratio(better, [1.0] * len(told), kin) if len(told) > 1 else None
    return Score(
        rows=len(told),
        median_factor=math.exp(median(off)),
        within_1_25=_within(off, 1.25),
        within_1_5=_within(off, 1.5),
        coverage=sum(away <= Z * found.sd for away, (_, found, _) in zip(off, told, strict=True)) / len(told),
        width_factor=math.exp(2 * Z * median(found.sd for _, found, _ in told)),
        crps=sum(ours) / len(ours),
        baseline_median_factor=math.exp(median(base_off)),
        baseline_within_1_5=_within(base_off, 1.5),
        baseline_crps=sum(theirs) / len(theirs),
        gain=sum(better) / len(better),
        gain_interval=(among.low, among.high) if among else None,
    )


def _within(off: Sequence[float], factor: float) -> float:
    return sum(away <= math.log(factor) for away in off) / len(off)


def constant(case: Case) -> Utilisation:
    """The baseline: the median utilisation of published whole runs on the device, whatever the run is.

    The case's own family is left out, as for ours. Attention is counted as in ours.
    """
    device, family = find(case.hardware), known_family(case)
    others = [(other, log) for other, log, kin in _whole_runs() if kin != family]
    same = [log for other, log in others if device and other.family == device.family]
    if not same:
        return Utilisation(median(log for _, log in others), SPREAD)
    return Utilisation(median(same), stdev(same) if len(same) >= FEWEST else SPREAD)


@cache
def _whole_runs() -> list[tuple[Device, float, str]]:
    """Of each published whole run its device, the logarithm of its share, and its family."""
    return [
        (device, math.log(share), one.family)
        for one in published()
        if is_whole(one) and is_sure(one)
        if (device := find(one.hardware)) and (share := reported(one))
    ]


def crps(found: Utilisation, true: float) -> float:
    """Continuous ranked probability score of a normal forecast of the logarithm, in nats (Gneiting 2007)."""
    z = (true - found.log) / found.sd
    normal = NormalDist()
    return found.sd * (z * (2 * normal.cdf(z) - 1) + 2 * normal.pdf(z) - 1 / math.sqrt(math.pi))
