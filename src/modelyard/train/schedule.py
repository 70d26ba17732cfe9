"""The learning rate at each step: a rise, then one of four ways down."""

from __future__ import annotations

import math
from typing import Literal

Shape = Literal["cosine", "linear", "wsd", "constant"]


def rate(step: int, total: int, *, peak: float, warmup: float, shape: Shape = "cosine") -> float:
    """Linear from peak/n to peak over the first n = warmup * total steps, then by `shape` towards zero.

    cosine: half a wave (arXiv:1608.03983). linear: a straight line. wsd: peak until the last fifth, then a
    straight line (warm-up, stable, decay; arXiv:2404.06395). constant: peak to the end. `step` counts from 0
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
    return peak


WSD_DECAY = 0.2  # share of the steps after the rise; the paper has 10% and more work as well
