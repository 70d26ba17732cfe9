"""What a model said of each answer before it was trained: what a preference is measured from."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RecordError
from .checkpoint import EVERY_S
from .row import pack
from .samples import Item
from .saving import write_json
from .step import Step

if TYPE_CHECKING:
    from .parallel.place import Place

NAME = "references.json"
TOGETHER = 32  # items between two reports


def measured(
    step: Step,
    items: Sequence[Item],
    taken: Iterable[int],
    state: Path,
    report: Callable[..., None],
    place: Place | None = None,
) -> list[Item]:
    """The items, those that a run takes with their samples' references, by a step that has learned nothing.

    taken: their numbers. What an earlier start of this run measured is read from `state`. Raises RecordError.
    """
    numbers, found = sorted(set(taken)), list(items)
    sums = _known(state)
    if place is not None:
        sums = place.agree(sums)
    kept = time.monotonic()
    for start in range(len(sums), len(numbers), TOGETHER):
        report("measuring the untuned model", done=start, total=len(numbers))
        sums += ask(step, [items[number] for number in numbers[start : start + TOGETHER]])
        last = len(sums) == len(numbers)
        if (last or time.monotonic() - kept > EVERY_S) and (place is None or place.first):
            write_json(state / NAME, sums)
            kept = time.monotonic()
    for number, totals in zip(numbers, sums, strict=True):
        pairs = zip(items[number], totals, strict=True)
        found[number] = tuple(replace(one, reference=total) for one, total in pairs)
    return found


def ask(step: Step, items: Sequence[Item]) -> list[list[float]]:
    """Of each item its samples' summed losses (nats)."""
    rows = [pack(item) for item in items]
    return [
        losses.new_zeros(len(item)).index_add_(0, row.of, losses).tolist()
        for item, row, losses in zip(items, rows, step.losses(rows), strict=True)
    ]


def _known(state: Path) -> list[list[float]]:
    path = state / NAME
    if not path.is_file():
        return []
    try:
        return [[float(total) for total in totals] for totals in json.loads(path.read_text("utf-8"))]
    except (ValueError, TypeError):
        raise RecordError(
            "what this run measured before it began cannot be read",
            where=str(path),
            try_="remove that folder",
        ) from None
