"""95% intervals that hold when the items of a group are alike: groups are resampled, not items.

Resampling gives the variance; the interval around it is Wilson's, with as many independent items as that
variance amounts to (Korn & Graubard 1998), so that 48 right answers out of 48 do not become certainty.
Means and differences of shares combine those intervals (MOVER, Zou & Donner 2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

LEVEL = 0.95
RESAMPLES = 2_000  # the variance's own error is then about 3%
STUDENT = {
    1: 12.706,
    2: 4.303,
    3: 3.182,
}  # the 97.5% quantile by degrees of freedom, where no expansion serves

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, its bounds at LEVEL, and how many items in how many groups stand behind it."""

    value: float
    low: float
    high: float
    items: int
    groups: int


@dataclass(frozen=True, slots=True)
class _Resampled:
    """Several shares over the same groups: their values and the covariance of their errors."""

    value: Array  # (shares,)
    covariance: Array  # (shares, shares)
    items: Array  # (shares,)
    groups: Array  # (shares,) groups that hold at least one item
    independent: Array  # (shares,) groups, or items where there is one group only


def share(right: Sequence[float], groups: Sequence[str], *, seed: int = 0) -> Interval:
    """The mean of `right` (each 0 to 1) with its interval. Raises ValueError without items."""
    kind = np.zeros(len(right), dtype=np.int64)
    resampled = _resample(np.asarray(right, dtype=np.float64), kind, 1, groups, seed)
    low, high = _wilson(resampled, 0)
    return Interval(float(resampled.value[0]), low, high, len(right), int(resampled.groups[0]))


def macro_mean(
    right: Sequence[float], kinds: Sequence[bool], groups: Sequence[str], *, seed: int = 0
) -> Interval:
    """The mean of two shares, that of the items whose kind is true and that of the others.

    Raises ValueError unless there are items of both kinds.
    """
    resampled = _resample(
        np.asarray(right, dtype=np.float64), np.asarray(kinds, dtype=np.int64), 2, groups, seed
    )
    bounds = [_wilson(resampled, 0), _wilson(resampled, 1)]
    a, b = (float(v) for v in resampled.value)
    value = (a + b) / 2
    both = _correlation(resampled)
    below = _combine(a - bounds[0][0], b - bounds[1][0], both) / 2
    above = _combine(bounds[0][1] - a, bounds[1][1] - b, both) / 2
    return Interval(value, max(0.0, value - below), min(1.0, value + above), len(right), len(set(groups)))


def paired_difference(
    first: Sequence[float],
    second: Sequence[float],
    kinds: Sequence[bool],
    groups: Sequence[str],
    *,
    seed: int = 0,
) -> Interval:
    """Macro mean of `first` minus that of `second`, item by item; with one kind only, the plain mean.

    Each kind's variance is smoothed as by two further items that differ in opposite directions (Agresti &
    Min 2005), so that two files that never differed on 48 items are not thought equal for certain.
    """
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    present = sorted(set(kinds))
    kind = np.asarray([present.index(k) for k in kinds], dtype=np.int64)
    resampled = _resample(difference, kind, len(present), groups, seed)
    covariance = resampled.covariance.copy()
    for at in range(len(present)):
        mine = difference[kind == at]
        n = float(len(mine))
        naive = float(mine.var()) / n
        effect = max(1.0, covariance[at, at] / naive) if naive > 0 else 1.0
        covariance[at, at] += (effect / (n + 2)) ** 2
    weight = np.full(len(present), 1 / len(present))
    value = float(weight @ resampled.value)
    spread = _quantile(float(resampled.independent.min())) * float(np.sqrt(weight @ covariance @ weight))
    return Interval(
        value, max(-1.0, value - spread), min(1.0, value + spread), len(difference), len(set(groups))
    )


def mean(values: Sequence[float], *, seed: int = 0) -> Interval:
    """The mean of independent numbers that are never negative, such as divergences, by resampling them."""
    numbers = np.asarray(values, dtype=np.float64)
    n = len(numbers)
    if n == 0:
        raise ValueError("a mean needs at least one number")
    draws = np.random.default_rng(seed).integers(0, n, size=(RESAMPLES, n))
    low, high = np.quantile(numbers[draws].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(numbers.mean()), float(low), float(high), n, n)


def _resample(right: Array, kind: Any, kinds: int, groups: Sequence[str], seed: int) -> _Resampled:
    """Shares by kind, and the covariance of their errors over 2,000 draws of groups with replacement."""
    if len(right) != len(groups) or len(right) != len(kind):
        raise ValueError("every item needs a score, a kind and a group")
    names, at = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    items = np.bincount(kind, minlength=kinds).astype(np.float64)
    if (items == 0).any():
        raise ValueError("an interval needs at least one item of each kind")
    if len(names) == 1:  # nothing is known between groups: items stand for themselves
        at = np.arange(len(right))
    count = int(at.max()) + 1
    sums = np.zeros((count, kinds))
    sizes = np.zeros((count, kinds))
    np.add.at(sums, (at, kind), right)
    np.add.at(sizes, (at, kind), 1.0)
    value = sums.sum(axis=0) / items
    # Linearised about the shares: a draw without any item of a kind then needs no special case.
    residual = (sums - value * sizes) / items
    # A covariance in units that are a sum over groups; n/(n-1) makes it unbiased.
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    errors = weights @ residual
    few = count / (count - 1) if count > 1 else 1.0
    covariance = np.atleast_2d(errors.T @ errors / RESAMPLES) * few
    holding = (sizes > 0).sum(axis=0).astype(np.float64)
    seen = np.ones(kinds) if len(names) == 1 else holding
    return _Resampled(value, covariance, items, seen, holding)


def _wilson(resampled: _Resampled, at: int) -> tuple[float, float]:
    """Wilson's interval, its n the number of independent items that the resampled variance amounts to."""
    p, n = float(resampled.value[at]), float(resampled.items[at])
    variance = float(resampled.covariance[at, at])
    if 0 < p < 1 and variance > 0:
        n = min(n, p * (1 - p) / variance)
    z = _quantile(float(resampled.independent[at]))
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    spread = z / (1 + z * z / n) * float(np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)))
    return max(0.0, min(p, middle - spread)), min(1.0, max(p, middle + spread))


def _correlation(resampled: _Resampled) -> float:
    spread = float(np.sqrt(resampled.covariance[0, 0] * resampled.covariance[1, 1]))
    return float(resampled.covariance[0, 1]) / spread if spread > 0 else 0.0


def _combine(a: float, b: float, correlation: float) -> float:
    return float(np.sqrt(max(0.0, a * a + b * b + 2 * correlation * a * b)))


def _quantile(independent: float) -> float:
    """Student's quantile, for the variance is itself estimated from so many groups.

    The expansion is Abramowitz & Stegun's 26.7.5, right to 0.01 from 4 degrees of freedom on.
    """
    freedom = max(1, round(independent) - 1)
    if freedom in STUDENT:
        return STUDENT[freedom]
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
