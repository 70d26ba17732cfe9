"""How many questions can decide a gate on loss: planned from their groups, before any of them is asked."""

from __future__ import annotations

from collections.abc import Sequence

from .items import Item, choose

STEP = 50
ROOM = 0.75  # of the limit: a file that is a question or two worse than the reference shall keep it too


def enough(pool: Sequence[Item], limit: float, *, fewest: int, most: int, seed: int) -> int:
    """The fewest questions on which a file that never differs from its reference keeps `limit` with room.

    From `fewest` to `most`, if that is more, by fifties. Where no number does, the one whose bound is least:
    more questions of the same few groups may tell less, for then the largest groups have most of them.
    """
    from .. import intervals

    bounds: dict[int, float] = {}
    for count in range(fewest, max(fewest, most) + 1, STEP):
        asked = choose(pool, count, seed=seed)
        right, kinds, groups = [1.0] * len(asked), [i.answerable for i in asked], [i.group for i in asked]
        bounds[count] = intervals.paired_difference(right, right, kinds, groups).high
        if bounds[count] <= ROOM * limit or len(asked) < count:
            break
    return min(bounds, key=lambda count: (bounds[count] > ROOM * limit, bounds[count]))
