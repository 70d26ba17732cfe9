"""Intervals hold, also when the items of a group are alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard import intervals

ITEMS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.booleans(), st.sampled_from("abcde")),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(ITEMS)
def test_a_share_lies_inside_its_interval_inside_nought_and_one(items: list[tuple[float, bool, str]]) -> None:
    found = intervals.share([i[0] for i in items], [i[2] for i in items])
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0
    assert found.items == len(items)
    assert found.groups == len({i[2] for i in items})


@settings(max_examples=60, deadline=None)
@given(ITEMS)
def test_a_macro_mean_lies_inside_its_interval(items: list[tuple[float, bool, str]]) -> None:
    items = [*items, (1.0, True, "f"), (0.0, False, "f")]
    found = intervals.macro_mean(*zip(*items, strict=True))
    yes = [i[0] for i in items if i[1]]
    no = [i[0] for i in items if not i[1]]
    assert found.value == pytest.approx((np.mean(yes) + np.mean(no)) / 2)
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0


@settings(max_examples=60, deadline=None)
@given(ITEMS)
def test_a_difference_turned_around_changes_its_sign_only(items: list[tuple[float, bool, str]]) -> None:
    right, kinds, groups = zip(*items, strict=True)
    other = tuple(reversed(right))
    there = intervals.paired_difference(right, other, kinds, groups)
    back = intervals.paired_difference(other, right, kinds, groups)
    assert there.value == pytest.approx(-back.value)
    assert there.low == pytest.approx(-back.high)
    assert there.low <= there.value <= there.high


def test_the_same_items_give_the_same_interval() -> None:
    right, groups = [1.0, 0.0, 1.0, 1.0] * 9, list("abcdefghi") * 4
    assert intervals.share(right, groups, seed=3) == intervals.share(right, groups, seed=3)


def test_all_right_is_not_certainty() -> None:
    assert intervals.share([1.0] * 48, [str(at) for at in range(48)]).low < 0.95


def test_two_files_that_never_differed_on_few_questions_are_not_equal_for_certain() -> None:
    few = intervals.paired_difference([1.0] * 30, [1.0] * 30, [True] * 30, [str(at) for at in range(30)])
    assert few.value == 0.0
    assert few.high > 0.05
    many = intervals.paired_difference([1.0] * 300, [1.0] * 300, [True] * 300, [str(at) for at in range(300)])
    assert many.high < 0.02


def test_alike_items_of_few_groups_give_a_wider_interval_than_as_many_of_their_own() -> None:
    right = [1.0] * 30 + [0.0] * 30
    grouped = intervals.share(right, [str(at // 10) for at in range(60)])
    alone = intervals.share(right, [str(at) for at in range(60)])
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_one_group_only_falls_back_to_its_items() -> None:
    found = intervals.share([1.0, 0.0] * 20, ["a"] * 40)
    assert found.groups == 1
    assert 0.25 < found.low < 0.5 < found.high < 0.75


def test_without_items_there_is_no_interval() -> None:
    with pytest.raises(ValueError, match="at least one item"):
        intervals.share([], [])
    with pytest.raises(ValueError, match="each kind"):
        intervals.macro_mean([1.0], [True], ["a"])


def _simulated(kind: str, chance: np.random.Generator) -> tuple[intervals.Interval, float]:
    """An interval and the truth, on 25 groups of 1 to 8 items whose chances differ between groups."""
    right, other, kinds, groups = [], [], [], []
    for group in range(25):
        level = chance.beta(0.8 * 6, 0.2 * 6)  # mean 0.8, correlation 1/7 within a group
        for _ in range(chance.integers(1, 9)):
            answer = float(chance.random() < level)
            # The second file loses 8 answers in 100 and finds 3 in 100.
            roll = chance.random()
            other.append(0.0 if roll < 0.08 else 1.0 if roll > 0.97 else answer)
            right.append(answer)
            kinds.append(bool(chance.random() < 0.75))
            groups.append(str(group))
    if kind == "share":
        return intervals.share(right, groups), 0.8
    if kind == "macro":
        return intervals.macro_mean(right, kinds, groups), 0.8
    return intervals.paired_difference(right, other, kinds, groups), 0.8 - (0.89 * 0.8 + 0.03)


@pytest.mark.parametrize("kind", ["share", "macro", "paired"])
def test_the_interval_covers_the_truth_in_about_95_of_100(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 400)  # keeps 400 simulations short; widens nothing
    chance = np.random.default_rng(11)
    found = [_simulated(kind, chance) for _ in range(400)]
    covered = sum(interval.low <= truth <= interval.high for interval, truth in found) / len(found)
    below = sum(interval.high < truth for interval, truth in found) / len(found)
    assert covered >= 0.92
    if kind != "paired":  # its few differences in groups of few items leave the correlation open
        assert covered <= 0.985
    assert below <= 0.06  # of a paired difference: a loss at the limit that a gate would let through


SIZES = {
    "even": [20] * 40,
    "few": [20] * 10,
    "uneven": list(range(1, 21)) * 2,
    "two sizes": [2, 15] * 20,
    "mostly single": [20, 1, 1, 1, 1] * 8,
    "alone": [1] * 60,
}


def _alike(mean: float, correlation: float, size: int, chance: np.random.Generator) -> list[float]:
    """Answers of one group, right in `mean` of all groups."""
    spread = 1 / correlation - 1 if correlation else 0.0
    level = chance.beta(mean * spread, (1 - mean) * spread) if spread else mean
    return [float(right) for right in chance.random(size) < level]


@pytest.mark.parametrize(
    ("sizes", "mean", "correlation"),
    [
        ("even", 0.99, 0.5),
        ("even", 0.95, 0.3),
        ("few", 0.97, 0.5),
        ("few", 0.9, 0.1),
        ("uneven", 0.99, 0.5),
        ("two sizes", 0.9, 0.5),
        ("mostly single", 0.95, 0.5),
        ("alone", 0.99, 0.0),
    ],
)
def test_a_share_near_all_right_keeps_its_promise_however_alike_the_items_of_a_group_are(
    sizes: str, mean: float, correlation: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By the resampled variance alone, the first covers 60% and passes 37% falsely, the third 64% and 33%.
    monkeypatch.setattr(intervals, "RESAMPLES", 200)
    chance = np.random.default_rng(5)
    found = []
    for _ in range(500):
        answers = [_alike(mean, correlation, size, chance) for size in SIZES[sizes]]
        groups = [str(at) for at, some in enumerate(answers) for _ in some]
        found.append(intervals.share([right for some in answers for right in some], groups))
    assert sum(i.low <= mean <= i.high for i in found) / len(found) >= 0.93
    assert sum(i.low > mean for i in found) / len(found) <= 0.06


@pytest.mark.parametrize(
    ("sizes", "loss", "correlation"),
    [
        ("even", 0.05, 0.5),
        ("few", 0.05, 0.3),
        ("uneven", 0.02, 0.5),
        ("two sizes", 0.1, 0.3),
        ("alone", 0.05, 0),
    ],
)
def test_a_loss_at_the_limit_passes_in_at_most_6_of_100(
    sizes: str, loss: float, correlation: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By a normal interval with the resampled variance it is 9% to 24%, but for the last.
    monkeypatch.setattr(intervals, "RESAMPLES", 200)
    chance = np.random.default_rng(6)
    passed = 0
    for _ in range(300):
        lost = [_alike(loss, correlation, size, chance) for size in SIZES[sizes]]
        groups = [str(at) for at, some in enumerate(lost) for _ in some]
        second = [1 - one for some in lost for one in some]
        kinds = [at % 4 > 0 for at in range(len(second))]
        passed += intervals.paired_difference([1.0] * len(second), second, kinds, groups).high < loss
    assert passed / 300 <= 0.06


def test_all_right_counts_for_less_in_groups_and_for_as_much_in_groups_of_one() -> None:
    alone = intervals.share([1.0] * 200, [str(at) for at in range(200)])
    grouped = intervals.share([1.0] * 200, [str(at // 20) for at in range(200)])
    assert alone.low > 0.975
    assert 0.8 < grouped.low < 0.9  # ten items of their own would give 0.66
    assert alone.high == grouped.high == 1.0


def test_groups_that_show_no_likeness_cost_little() -> None:
    chance = np.random.default_rng(1)
    right = [float(one) for one in chance.random(400) < 0.85]
    grouped = intervals.share(right, [str(at // 10) for at in range(400)])
    alone = intervals.share(right, [str(at) for at in range(400)])
    assert grouped.high - grouped.low < 1.2 * (alone.high - alone.low)
