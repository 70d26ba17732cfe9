"""Which samples make up each optimizer step, and in which rows: fixed by seed, sizes and nothing else.

A row is a plain run of tokens, sample after sample, with no padding at all; attention keeps them apart.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# A worker with fewer tokens than this spends its time in small products.
WORKER_TOKENS_MIN = 400


@dataclass(frozen=True, slots=True)
class Order:
    """How samples become steps.

    `batch_tokens`: tokens of a step at most. `row_tokens`: of a row at most. `rows`: a step has a multiple of
    so many rows, unless it has fewer samples.
    """

    seed: int
    batch_tokens: int
    row_tokens: int
    rows: int = 1
    mixture: Mixture | None = None


@dataclass(frozen=True, slots=True)
class Mixture:
    """The source of each sample, and what share of the tokens is to come from each source."""

    sources: tuple[int, ...]
    weights: tuple[float, ...]


Rows = tuple[tuple[int, ...], ...]  # the numbers of the samples in each row of one step


def steps(lengths: Sequence[int], order: Order) -> Iterator[Rows]:
    """Endless steps over samples of these `lengths` (tokens).

    Every sample comes once an epoch, each epoch in an order of its own; in a mixture every source has its
    own epochs. A sample longer than a step makes a step by itself.
    """
    taken: list[int] = []
    total = 0
    for number in _mixed(lengths, order) if order.mixture else _endless(range(len(lengths)), order.seed):
        if taken and total + lengths[number] > order.batch_tokens:
            yield rows(taken, lengths, order)
            taken, total = [], 0
        taken.append(number)
        total += lengths[number]


def _endless(numbers: Sequence[int], seed: object) -> Iterator[int]:
    for epoch in itertools.count():
        shuffled = list(numbers)
        random.Random(f"{seed}/{epoch}").shuffle(shuffled)
        yield from shuffled


def _mixed(lengths: Sequence[int], order: Order) -> Iterator[int]:
    """Always from the source that is furthest behind its share of the tokens."""
    assert order.mixture is not None
    sources, weights = order.mixture.sources, order.mixture.weights
    of = [[number for number, one in enumerate(sources) if one == source] for source in range(len(weights))]
    streams = [_endless(numbers, f"{order.seed}/{source}") for source, numbers in enumerate(of)]
    taken = [0.0] * len(weights)
    while True:
        source = min(range(len(weights)), key=lambda one: (taken[one] / weights[one], one))
        number = next(streams[source])
        taken[source] += lengths[number]
        yield number


def rows(taken: Sequence[int], lengths: Sequence[int], order: Order) -> Rows:
    """The samples of one step in rows of nearly equal length: longest first, each into the emptiest row.

    With a row more than a multiple of the workers, all but one of them would wait for its end.
    """
    total = sum(lengths[number] for number in taken)
    count = -(-total // order.row_tokens)
    while True:
        count = min(len(taken), order.rows * max(1, -(-count // order.rows)))
        filled: list[list[int]] = [[] for _ in range(count)]
        sizes = [0] * count
        for number in sorted(taken, key=lambda number: (-lengths[number], number)):
            at = min(range(count), key=lambda row: (sizes[row], row))
            filled[at].append(number)
            sizes[at] += lengths[number]
        if count == len(taken) or max(sizes) <= order.row_tokens:
            return tuple(tuple(row) for row in filled)
        count += 1


def plan(lengths: Sequence[int], order: Order, budget_tokens: int) -> tuple[int, int]:
    """Steps until `budget_tokens` are reached (one at least), and the tokens that these steps have."""
    count = tokens = 0
    for step in steps(lengths, order):
        count += 1
        tokens += sum(lengths[number] for row in step for number in row)
        if tokens >= budget_tokens:
            break
    return count, tokens


def workers(lengths: Sequence[int], step_tokens: int, threads: int) -> int:
    """How many of a process's threads take rows of their own; the others help them with their products.

    A step has a row for each only if its tokens suffice for so many samples of these `lengths`, each weighing
    as much as it is long: two threads on one row of 512 tokens are 1.6 times as fast as one (two cores).
    """
    sample = sum(length * length for length in lengths) // sum(lengths)
    return max(1, min(threads, step_tokens // max(sample, WORKER_TOKENS_MIN)))
