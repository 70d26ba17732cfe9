"""Pairs split by group into train, select and report."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Literal

from ..errors import SourceError
from .settings import HoldOut

Part = Literal["train", "select", "report"]
PARTS: tuple[Part, ...] = ("train", "select", "report")

_NAMES: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "select": "select",
    "validation": "select",
    "valid": "select",
    "dev": "select",
    "report": "report",
    "test": "report",
}


def place(group: str, seed: int) -> float:
    """Where a group stands between 0 and 1: by its own name alone, so that no other group moves it."""
    digest = hashlib.sha256(f"{seed}\0{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def part_named(value: object) -> Part | None:
    """The part that a row's `split` field names, by our word for it or another's."""
    return _NAMES.get(value.lower()) if isinstance(value, str) else None


def assign(
    groups: Collection[str], hold_out: HoldOut, seed: int, named: Mapping[str, Part] | None = None
) -> dict[str, Part]:
    """The part of each group: the one its rows name, else `report` or `select` up to its share, or `train`.

    A part that stays empty takes its share of the largest part, at least one group.
    Raises SourceError with fewer than three groups.
    """
    if len(groups) < len(PARTS):
        raise SourceError(
            f"the pairs fall into {len(groups)} group{'s' * (len(groups) != 1)} by {hold_out.by!r}; "
            "train, select and report need one each",
            where="task.hold_out.by",
            try_="a field with more values, or `by: row` for rows that have nothing in common",
        )
    shares = {"report": hold_out.report, "select": hold_out.select, "train": 0.0}
    order = sorted(set(groups), key=lambda group: (place(group, seed), group))
    part_of = {group: (named or {}).get(group) or _by_place(place(group, seed), hold_out) for group in order}
    for part in reversed(PARTS):
        if part in part_of.values():
            continue
        sizes = Counter(part_of.values())
        largest = max(PARTS, key=lambda other: sizes[other])
        donors = [group for group in order if part_of[group] == largest]
        taken = [group for group in donors if place(group, seed) < shares[part]] or donors[:1]
        part_of |= dict.fromkeys(taken[: len(donors) - 1], part)
    return part_of


def _by_place(at: float, hold_out: HoldOut) -> Part:
    if at < hold_out.report:
        return "report"
    return "select" if at < hold_out.report + hold_out.select else "train"
