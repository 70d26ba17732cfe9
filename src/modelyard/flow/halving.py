"""How many settings a search tries, and which go on: successive halving (arXiv:1502.07943).

Many settings get a ninth of the tokens, the better third of them a third, the better third of those all.
Each run is a whole one, its schedule ending at its own last token: a short run is an answer, not a piece.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..records.shapes import Record

RUNGS = (1 / 9, 1 / 3, 1.0)  # shares of the tokens
GOES_ON = 3  # one of so many
MOST = 81  # settings, however many minutes there are


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of a run: `fixed` however short it is, and `full` more for all tokens."""

    fixed: float
    full: float

    def of(self, share: float) -> float:
        """Of a run on this share of the tokens."""
        return self.fixed + share * self.full


def cost(records: Sequence[Record], tokens: int) -> Cost:
    """By the newest run that came to its end; `tokens` make up a full one."""
    for record in reversed(records):
        trained, speed = record.fact("train.tokens").value, record.fact("train.tps").value
        if trained and speed:
            return Cost(max(0.0, record.seconds - trained / speed), tokens / speed)
    return Cost(0.0, max(record.seconds for record in records))


def going_on(count: int) -> int:
    """How many of `count` settings go on to the next rung."""
    return math.ceil(count / GOES_ON)


def width(left_s: float, cost: Cost, most: int) -> int:
    """How many settings may begin so that the whole ladder takes at most `left_s` seconds; 0 for none."""
    found = 0
    for count in range(1, most + 1):
        seconds, on = 0.0, count
        for share in RUNGS:
            seconds += on * cost.of(share)
            on = going_on(on)
        if seconds > left_s:
            break
        found = count
    return found
