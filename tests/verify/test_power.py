"""How many questions a gate on loss needs is known from the groups, before any is asked."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.verify.stage import pair

from modelyard import intervals
from modelyard.verify.items import Item, choose, items
from modelyard.verify.power import ROOM, enough


def pool(sizes: list[int]) -> list[Item]:
    """Groups of these many pairs, a quarter of them unanswerable."""
    rows = []
    for group, size in enumerate(sizes):
        for at in range(size):
            row = pair("select", 30 if at % 4 == 3 else at % 30)
            rows.append(row | {"id": f"{group}-{at}", "group": f"g{group}"})
    return items(rows)


def bound(found: list[Item]) -> float:
    """The upper bound of the loss of a file that never differs on them."""
    right = [1.0] * len(found)
    kinds, groups = [one.answerable for one in found], [one.group for one in found]
    return intervals.paired_difference(right, right, kinds, groups).high


def test_many_small_groups_need_few_questions_and_decide() -> None:
    asked = pool([10] * 80)
    count = enough(asked, 0.08, fewest=100, most=400, seed=0)
    assert bound(choose(asked, count, seed=0)) <= ROOM * 0.08
    assert bound(choose(asked, count - 50, seed=0)) > ROOM * 0.08


def test_a_gate_that_few_groups_cannot_decide_asks_where_the_bound_is_least() -> None:
    asked = pool([60, 40, 30, 200, 20, 10, 10, 10])
    count = enough(asked, 0.05, fewest=100, most=400, seed=0)
    best = min(bound(choose(asked, n, seed=0)) for n in range(100, 401, 50))
    assert best > 0.05
    assert bound(choose(asked, count, seed=0)) == best


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=30), st.floats(0.01, 0.5))
def test_the_number_is_within_what_is_allowed(sizes: list[int], limit: float) -> None:
    asked = pool(sizes)
    if len({one.answerable for one in asked}) == 2:
        assert 50 <= enough(asked, limit, fewest=50, most=200, seed=0) <= 200
