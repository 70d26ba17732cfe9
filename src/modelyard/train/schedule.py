"""The learning rate at each step."""

from __future__ import annotations

import math


def rate(step: int, total: int, *, peak: float, warmup: float) -> float:
    """Linear from peak/n to peak over the first n = warmup * total steps, then a cosine towards zero.

    `step` counts from 0 to total - 1. The last step still learns a little: zero would come one step later.
    """
    rising = round(warmup * total)
    if step < rising:
        return peak * (step + 1) / rising
    share = (step - rising + 1) / (total - rising + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * share))
