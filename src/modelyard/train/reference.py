"""What a model said of each answer before it was trained: what a preference is measured from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from .row import pack
from .samples import Item
from .step import Step

TOGETHER = 32  # items between two reports


def measured(step: Step, items: Sequence[Item], report: Callable[..., None]) -> list[Item]:
    """The items with their samples' references, from a step whose adapters do nothing yet.

    A resumed run measures them again before it takes up its adapters, to the same numbers.
    """
    found: list[Item] = []
    for start in range(0, len(items), TOGETHER):
        report("measuring the untuned model", done=start, total=len(items))
        some = items[start : start + TOGETHER]
        rows = [pack(item) for item in some]
        for item, row, losses in zip(some, rows, step.losses(rows), strict=True):
            sums = losses.new_zeros(len(item)).index_add_(0, row.of, losses).tolist()
            found.append(tuple(replace(one, reference=total) for one, total in zip(item, sums, strict=True)))
    return found
