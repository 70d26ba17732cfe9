"""Many futures at once: every uncertain input drawn once for each, so that it can be seen what moved them."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np

from .backtest import Range

Array = np.ndarray[Any, np.dtype[np.float64]]
FUTURES = 2000  # a share of 5% is then known to half a point
Z80 = NormalDist().inv_cdf(0.9)


@dataclass(slots=True)
class Draws:
    """A source of chance that starts the same each time, and what it gave by name."""

    seed: int = 0
    count: int = FUTURES
    given: dict[str, Array] = field(default_factory=dict)
    random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def of(self, name: str, estimate: tuple[float, float, float]) -> Array:
        """One value for each future: 80% between the ends, by ratio where all three are above zero."""
        low, middle, high = estimate
        if low == high:
            return np.full(self.count, middle)
        z = self.random.standard_normal(self.count) / Z80
        if low > 0:
            side = np.where(z > 0, high / middle, middle / low)
            found: Array = middle * side**z
        else:
            found = np.maximum(0.0, middle + np.where(z > 0, high - middle, middle - low) * z)
        self.given[name] = found
        return found


def range_of(values: Array) -> Range:
    """Median, and the ends of the middle 80%."""
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    return Range(float(middle), float(low), float(high))


def movers(draws: Draws, outcome: Array, most: int = 8) -> list[tuple[str, float, float]]:
    """(input, mean outcome in its lowest fifth, in its highest fifth), what moves it most first."""
    fifth = max(1, draws.count // 5)
    found = []
    for name, values in draws.given.items():
        order = np.argsort(values, kind="stable")
        ends = (float(outcome[order[:fifth]].mean()), float(outcome[order[-fifth:]].mean()))
        found.append((name, *ends))
    return sorted(found, key=lambda one: -abs(one[2] - one[1]))[:most]
