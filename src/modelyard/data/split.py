"""Pairs split by group into train, select and report."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Literal

from ..errors import SourceError
from .settings import HoldOut

Part = Literal["train", "select", "report"]
PARTS: tuple[Part, ...] = ("train", "select", "report")


def place(group: str, seed: int) -> float:
    """Where a group stands between 0 and 1: by its own name alone, so that no other group moves it."""
    digest = hashlib.sha256(f"{seed}\0{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def assign(groups: Collection[str], hold_out: HoldOut, seed: int) -> dict[str, Part]:
    """The part of each group: `report` up to its share, then `select`, the rest `train`.

    With few groups a part may stay empty; then the group that stands nearest to it moves there.
    Raises SourceError with fewer than three groups.
    """
    if len(groups) < len(PARTS):
        raise SourceError(
            f"the pairs fall into {len(groups)} group{'s' * (len(groups) != 1)} by {hold_out.by!r}; "
            "train, select and report need one each",
            where="task.hold_out.by",
            try_="a field with more values, or `by: row` for rows that have nothing in common",
        )
    order = sorted(set(groups), key=lambda group: (place(group, seed), group))
    report = sum(place(group, seed) < hold_out.report for group in order)
    select = sum(place(group, seed) < hold_out.report + hold_out.select for group in order) - report
    report = min(max(report, 1), len(order) - 2)
    select = min(max(select, 1), len(order) - report - 1)
    cut = {
        "report": order[:report],
        "select": order[report : report + select],
        "train": order[report + select :],
    }
    return {group: part for part in PARTS for group in cut[part]}
