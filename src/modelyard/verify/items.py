"""Which pairs are asked: seeded, each stratum keeping its share, spread over the groups."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import RecordError
from ..prompt import NOT_STATED
from ..records.digest import digest

Stratum = Literal["answerable", "unanswerable", "absent"]
STRATA: tuple[Stratum, ...] = ("answerable", "unanswerable", "absent")


@dataclass(frozen=True, slots=True)
class Item:
    """A pair to ask. `stratum` absent: about a thing in no document, and with no passage of its own."""

    id: str
    group: str
    kind: str
    stratum: Stratum
    absent: bool
    document: str | None
    question: str | None
    answer: str
    pair: Mapping[str, Any]

    @property
    def answerable(self) -> bool:
        return self.stratum == "answerable"


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file; none when the file is missing, as in a corpus without pairs."""
    if not path.is_file():
        return []
    rows = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise RecordError(f"a row is not JSON: {error}", where=f"{path.name}:{number}") from None
    return rows


def items(rows: Sequence[Mapping[str, Any]]) -> list[Item]:
    """Pairs as items. The right answer of a conversation is its last message."""
    return [_item(row) for row in rows]


def _item(row: Mapping[str, Any]) -> Item:
    messages = row.get("messages")
    answer = str(messages[-1]["content"]) if messages else str(row["answer"])
    absent = bool(row.get("absent"))
    stratum: Stratum = "answerable"
    if absent and not row.get("passage"):
        stratum = "absent"
    elif answer == NOT_STATED:
        stratum = "unanswerable"
    return Item(
        id=str(row["id"]),
        group=str(row.get("group") or row["id"]),
        kind=str(row.get("kind") or ""),
        stratum=stratum,
        absent=absent,
        document=row.get("document"),
        question=row.get("question"),
        answer=answer,
        pair=row,
    )


def choose(pool: Sequence[Item], most: int, *, seed: int) -> list[Item]:
    """At most `most` items: each stratum keeps its share (at least two while it has them), groups take turns.

    The order of `pool` does not matter.
    """
    if most >= len(pool):
        return sorted(pool, key=lambda item: item.id)
    strata = {name: [item for item in pool if item.stratum == name] for name in STRATA}
    room = _rooms({name: len(found) for name, found in strata.items() if found}, most)
    chosen = [item for name, count in room.items() for item in _spread(strata[name], count, seed)]
    return sorted(chosen, key=lambda item: item.id)


def _rooms(sizes: Mapping[Stratum, int], most: int) -> dict[Stratum, int]:
    """Places by stratum: the largest remainders, but two for each small one while there is room."""
    total = sum(sizes.values())
    exact = {name: most * size / total for name, size in sizes.items()}
    least = 2 if most >= 2 * len(sizes) else 0
    room = {name: min(sizes[name], max(least, int(share))) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (int(exact[name]) - exact[name], name))
    for name in by_remainder:
        if sum(room.values()) < most and room[name] < sizes[name]:
            room[name] += 1
    largest = max(room, key=lambda name: (room[name], name))
    room[largest] -= max(0, sum(room.values()) - most)
    return room


def _spread(pool: Sequence[Item], count: int, seed: int) -> list[Item]:
    """`count` items, one of each group in turn, groups and items in the order of their seeded hash."""
    groups: dict[str, list[Item]] = {}
    for item in sorted(pool, key=lambda item: digest("item", [seed, item.id])):
        groups.setdefault(item.group, []).append(item)
    ordered = sorted(groups, key=lambda name: digest("group", [seed, name]))
    ranked = [(place, at, item) for at, name in enumerate(ordered) for place, item in enumerate(groups[name])]
    return [item for _, _, item in sorted(ranked, key=lambda r: r[:2])[:count]]
