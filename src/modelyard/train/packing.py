"""Which samples make up each optimizer step, and in which rows: fixed by seed, sizes and nothing else.

A row is a plain run of tokens, sample after sample, with no padding at all; attention keeps them apart.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Order:
    """How samples become steps.

    `batch_tokens`: tokens of a step at most. `row_tokens`: of a row at most. `rows`: rows of a step at least.
    """

    seed: int
    batch_tokens: int
    row_tokens: int
    rows: int = 1


Rows = tuple[tuple[int, ...], ...]  # the numbers of the samples in each row of one step


def steps(lengths: Sequence[int], order: Order) -> Iterator[Rows]:
    """Endless steps over samples of these `lengths` (tokens), each epoch in an order of its own.

    Every sample comes once an epoch. A sample longer than a step makes a step by itself.
    """
    taken: list[int] = []
    total = 0
    epoch = 0
    while True:
        shuffled = list(range(len(lengths)))
        random.Random(f"{order.seed}/{epoch}").shuffle(shuffled)
        for number in shuffled:
            if taken and total + lengths[number] > order.batch_tokens:
                yield rows(taken, lengths, order)
                taken, total = [], 0
            taken.append(number)
            total += lengths[number]
        epoch += 1


def rows(taken: Sequence[int], lengths: Sequence[int], order: Order) -> Rows:
    """The samples of one step in rows of nearly equal length: longest first, each into the emptiest row."""
    total = sum(lengths[number] for number in taken)
    count = min(len(taken), max(order.rows, -(-total // order.row_tokens)))
    filled: list[list[int]] = [[] for _ in range(count)]
    sizes = [0] * count
    for number in sorted(taken, key=lambda number: (-lengths[number], number)):
        at = min(range(len(sizes)), key=lambda row: (sizes[row], row))
        if sizes[at] and sizes[at] + lengths[number] > order.row_tokens:
            filled.append([])
            sizes.append(0)
            at = len(sizes) - 1
        filled[at].append(number)
        sizes[at] += lengths[number]
    return tuple(tuple(row) for row in filled)


def plan(lengths: Sequence[int], order: Order, budget_tokens: int) -> tuple[int, int]:
    """Steps until `budget_tokens` are reached (one at least), and the tokens that these steps have."""
    count = tokens = 0
    for step in steps(lengths, order):
        count += 1
        tokens += sum(lengths[number] for row in step for number in row)
        if tokens >= budget_tokens:
            break
    return count, tokens
