"""How fast a file answers on an engine that was measured with other files: a line over its size.

A step reads all weights once, so its seconds are those of the engine and its kind of file, and the file's
size over the memory's bandwidth. Engines differ by factors, kinds of file by tens of percent: a Gaussian
prior for each, and least squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .backtest import Range, Z

Array = np.ndarray[Any, np.dtype[np.float64]]

ENGINE, FORMAT = 0.5, 0.12  # standard deviations of what stands beside the size, of a mean step
MINIMA = 0.25  # of types that keep a minimum beside a scale (Q4_1, Q5_1): llama.cpp has no packed products
KERNEL = 0.12  # of one type of weight on one engine, beside its size: kernels differ
GB_PER_S = (20.0, 0.5)  # bandwidth that a step reaches, and the deviation of its inverse: small machines
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of a step of one file on one engine."""

    engine: str
    format: str
    type: str
    size_mib: float
    step_s: float


def predict(rows: Sequence[Measured], engine: str, format: str, size_mib: float, type: str = "") -> Range:
    """Seconds of a step of a file of that size, 80%. Needs at least one row."""
    mean = float(np.mean([one.step_s for one in rows]))
    slope = MIB / (GB_PER_S[0] * 1e9)
    engines = sorted({one.engine for one in rows} | {engine})
    kinds = sorted({(one.engine, one.format) for one in rows} | {(engine, format)})

    def row(engine: str, format: str, size: float, type: str) -> list[float]:
        return [
            1.0,
            size / 100,
            *(float(engine == other) for other in engines),
            *(float((engine, format) == other) for other in kinds),
            *(float(engine == other and type.endswith("_1")) for other in engines),
        ]

    x = np.array([row(one.engine, one.format, one.size_mib, one.type) for one in rows])
    y = np.array([one.step_s for one in rows])
    prior = np.array([mean, slope * 100, *[0.0] * (2 * len(engines) + len(kinds))])
    beside = [ENGINE] * len(engines) + [FORMAT] * len(kinds) + [MINIMA] * len(engines)
    spread = np.array([mean, slope * 100 * GB_PER_S[1], *(one * mean for one in beside)])
    noise = (KERNEL * y) ** 2
    precision = x.T @ (x / noise[:, None]) + np.diag(1 / spread**2)
    weights = np.linalg.solve(precision, x.T @ ((y - x @ prior) / noise)) + prior
    asked = np.array(row(engine, format, size_mib, type))
    value = max(float(asked @ weights), 0.1 * float(y.min()))
    variance = float(asked @ np.linalg.solve(precision, asked)) + (KERNEL * value) ** 2
    ratio = float(np.exp(Z * np.sqrt(variance) / value))
    return Range(value, value / ratio, value * ratio)
