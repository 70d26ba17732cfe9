"""Which samples go into which step and row."""

from __future__ import annotations

import itertools
from collections import Counter

from hypothesis import given
from hypothesis import strategies as some

from modelyard.train.attention import lay_out
from modelyard.train.packing import Order, plan, steps, workers

lengths_ = some.lists(some.integers(1, 100), min_size=1, max_size=40)
orders = some.builds(
    Order,
    seed=some.integers(0, 5),
    batch_tokens=some.integers(32, 300),
    row_tokens=some.integers(100, 200),
    rows=some.integers(1, 3),
)


@given(lengths_, orders)
def test_every_sample_comes_once_an_epoch(lengths: list[int], order: Order) -> None:
    seen: Counter[int] = Counter()
    for step in steps(lengths, order):
        seen.update(number for row in step for number in row)
        if sum(seen.values()) >= 3 * len(lengths):
            break
    assert max(seen.values()) - min(seen[number] for number in range(len(lengths))) <= 2
    assert set(seen) == set(range(len(lengths)))


@given(lengths_, orders)
def test_no_step_and_no_row_is_larger_than_asked(lengths: list[int], order: Order) -> None:
    for step in itertools.islice(steps(lengths, order), 20):
        sizes = [sum(lengths[number] for number in row) for row in step]
        assert all(step)
        assert max(sizes) <= order.row_tokens
        assert sum(sizes) <= order.batch_tokens or sum(map(len, step)) == 1


@given(lengths_, orders)
def test_every_worker_has_as_many_rows_where_there_are_samples(lengths: list[int], order: Order) -> None:
    for step in itertools.islice(steps(lengths, order), 20):
        assert len(step) % order.rows == 0 or len(step) == sum(map(len, step))


@given(lengths_, orders)
def test_the_same_seed_gives_the_same_steps(lengths: list[int], order: Order) -> None:
    first = list(itertools.islice(steps(lengths, order), 10))
    assert first == list(itertools.islice(steps(lengths, order), 10))


@given(lengths_, orders, some.integers(1, 2000))
def test_the_plan_ends_with_the_step_that_reaches_the_budget(
    lengths: list[int], order: Order, budget: int
) -> None:
    count, tokens = plan(lengths, order, budget)
    sizes = [
        sum(lengths[n] for row in step for n in row)
        for step in itertools.islice(steps(lengths, order), count)
    ]
    assert sum(sizes) == tokens >= budget
    assert sum(sizes[:-1]) < budget


def test_another_epoch_has_another_order() -> None:
    lengths = [10] * 30
    six = [
        set(step[0])
        for step in itertools.islice(steps(lengths, Order(seed=0, batch_tokens=100, row_tokens=100)), 6)
    ]
    assert set.union(*six[:3]) == set.union(*six[3:]) == set(range(30))
    assert six[:3] != six[3:]


def test_each_worker_gets_a_row_of_about_the_same_length() -> None:
    lengths = [90, 10, 50, 50, 40, 60]
    (rows,) = itertools.islice(steps(lengths, Order(0, 300, 300, rows=2)), 1)
    assert [sum(lengths[number] for number in row) for row in rows] == [150, 150]


@given(some.lists(some.integers(2, 40), min_size=1, max_size=9), some.integers(0, 20))
def test_in_one_padded_group_each_token_lies_where_its_own_place_is(lengths: list[int], prefix: int) -> None:
    ends = list(itertools.accumulate(lengths, initial=prefix))
    layout = lay_out(list(itertools.pairwise(ends)), prefix)
    together = layout.in_one_group()
    (group,) = together.groups
    assert group.places.reshape(-1)[together.back].tolist() == list(range(ends[-1]))
    assert group.places.shape == (len(lengths), prefix + max(lengths))
    assert layout.even is (len(lengths) == 1 or (prefix == 0 and len(set(lengths)) == 1))


@given(some.integers(1, 2000), some.integers(1, 8192), some.integers(1, 16))
def test_no_worker_is_without_a_row_where_samples_are_alike(length: int, tokens: int, threads: int) -> None:
    count = workers([length] * 100, tokens, threads)
    order = Order(0, tokens, max(tokens, length), count)
    assert 1 <= count <= threads
    assert len(next(steps([length] * 100, order))) >= count


def test_threads_share_the_one_long_sample_of_a_step_and_take_rows_of_short_ones() -> None:
    assert workers([1024] * 9, 1024, 2) == 1
    assert workers([1024] * 9, 2048, 2) == 2
    assert workers([100] * 9, 1024, 2) == 2
    assert workers([100] * 9, 512, 2) == 1, "each would have too little"
