"""Does a run fit into this machine's memory, and how must it be cut so that it does? Asked before it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .. import machine
from ..errors import TrainingError
from ..estimate import training
from ..estimate.configuration import of_config
from ..estimate.shape import Shape
from ..records.shapes import Choice

GIB = 2**30
SHARE = 0.92  # of what is available may be taken: a prediction is not exact, and others use memory, too


@dataclass(frozen=True, slots=True)
class Cut:
    """How a run is cut: tokens of a row at most, rows at once, and whether layers are computed twice."""

    row_tokens: int
    workers: int
    recompute: bool


def fit(
    config: Mapping[str, Any],
    asked: Cut,
    *,
    rank: int | None,
    longest: int,
    teacher: Mapping[str, Any] | None = None,
) -> tuple[Cut, list[Choice]]:
    """The fastest way to run that fits, and why it is not as `asked`.

    config: the base's config.json; one of a kind that `estimate` does not know runs as asked. longest: tokens
    of the longest item, which has to stand in one row. teacher: its config.json. Raises TrainingError where
    nothing fits.
    """
    shape = of_config(config)
    if shape is None:
        return asked, []
    taught = None if teacher is None else of_config(teacher)
    room = machine.memory_available_gib() * GIB
    first: dict[str, int] = {}
    for cut in _ways(asked, longest):
        run = training.Run(
            rank,
            cut.row_tokens,
            min(longest, cut.row_tokens),
            cut.workers,
            cut.recompute,
            teacher=taught,
        )
        terms = training.memory_bytes(shape, run)
        first = first or terms
        if sum(terms.values()) <= SHARE * room:
            return _told(asked, cut, sum(first.values()), room)
    raise _refused(shape, terms, room, rank)


def _ways(asked: Cut, longest: int) -> Iterator[Cut]:
    """Rows as asked, then smaller ones; then layers computed twice; then fewer rows at once."""
    for workers in sorted({asked.workers, 1}, reverse=True):
        for recompute in (False, True):
            rows = asked.row_tokens
            while True:
                yield Cut(rows, workers, recompute)
                if rows // 2 < longest:
                    break
                rows //= 2
            if longest < rows:
                yield Cut(longest, workers, recompute)


def _told(asked: Cut, cut: Cut, predicted: int, room: float) -> tuple[Cut, list[Choice]]:
    why = f"as asked it would take {predicted / GIB:.1f} GiB, and {room / GIB:.1f} are available"
    choices = []
    if cut.row_tokens != asked.row_tokens:
        choices.append(Choice("train.rows", f"{cut.row_tokens} tokens", why))
    if cut.recompute:
        choices.append(Choice("train.recompute", "each layer twice", why))
    if cut.workers != asked.workers:
        choices.append(Choice("train.rows_at_once", str(cut.workers), why))
    return cut, choices


def _refused(shape: Shape, terms: Mapping[str, int], room: float, rank: int | None) -> TrainingError:
    largest = max(terms, key=lambda name: terms[name])
    if largest == "teacher":
        change = "a smaller teacher"
    elif rank is None:
        change = "method: {lora: {rank: 16}}, or a smaller base"
    elif largest == "activations":
        change = "shorter samples: a smaller sequence_tokens; or a smaller base"
    else:
        change = "a smaller base, or a machine with more memory"
    needed = sum(terms.values()) / SHARE
    return TrainingError(
        f"training {shape.parameters / 1e6:.0f}M parameters would take {needed / GIB:.1f} GiB however it is "
        f"cut, and {room / GIB:.1f} are available; most of it, {terms[largest] / GIB:.1f}, is {largest}",
        where="train.method",
        try_=change,
    )
