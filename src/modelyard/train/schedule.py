"""The learning rate at each step: a rise, then one of five ways on."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Literal

Shape = Literal["cosine", "linear", "wsd", "constant", "plateau"]

WSD_DECAY = 0.2  # share of the steps after the rise; the paper has 10% and more work as well
# A plateau: PATIENCE windows of WINDOW of the run, none of which lowers the best mean loss by GAIN of it.
WINDOW, PATIENCE, GAIN, FACTOR = 0.04, 2, 0.01, 0.5


def rate(
    step: int,
    total: int,
    *,
    peak: float,
    warmup: float,
    shape: Shape = "cosine",
    losses: Sequence[float] = (),
) -> float:
    """Linear from peak/n to peak over the first n = warmup * total steps, then by `shape` towards zero.

    cosine: half a wave (arXiv:1608.03983). linear: a straight line. wsd: peak until the last fifth, then a
    straight line (warm-up, stable, decay; arXiv:2404.06395). constant: peak to the end. plateau: peak, halved
    each time the loss stops falling, told by `losses`, those of the steps taken so far. `step` counts from 0
    to total - 1. The last step still learns a little: zero would come one step later.
    """
    rising = round(warmup * total)
    if step < rising:
        return peak * (step + 1) / rising
    share = (step - rising + 1) / (total - rising + 1)
    if shape == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * share))
    if shape == "linear":
        return peak * (1 - share)
    if shape == "wsd":
        return peak * min(1.0, (1 - share) / WSD_DECAY)
    if shape == "plateau":
        return peak * FACTOR ** plateaus(losses[rising:], max(1, round(WINDOW * total)))
    return peak


def plateaus(losses: Sequence[float], window: int) -> int:
    """How often the means of `window` losses have stopped falling."""
    means = [
        statistics.fmean(losses[start : start + window])
        for start in range(0, len(losses) - window + 1, window)
    ]
    found = waited = 0
    best = math.inf
    for mean in means:
        waited = 0 if mean < best * (1 - GAIN) else waited + 1
        best = min(best, mean)
        if waited == PATIENCE:
            found, waited = found + 1, 0
    return found
