"""Tables and numbers for a person: a fact with its interval, a duration, a size."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from ..records.facts import FACTS
from ..records.shapes import Fact
from .voice import translate


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned by two spaces; a Chinese character is two places wide."""
    grid = [[translate(cell) for cell in head], *rows]
    widths = [max(width(row[at]) for row in grid) for at in range(len(head))]
    lines = []
    for row in grid:
        cells = [cell + " " * (wide - width(cell)) for cell, wide in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * wide for wide in widths))
    return "\n".join(lines)


def number(value: float | None, unit: str = "") -> str:
    """A number with as many digits as it is worth; an unmeasured one is a dash, never zero."""
    if value is None:
        return "-"
    if unit == "share":
        return f"{value:.3f}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value else "0"


def measured(fact: Fact) -> str:
    """A fact with its interval, such as 0.842 [0.80, 0.88]."""
    text = number(fact.value, fact.unit)
    if fact.low is not None and fact.high is not None:
        text += f" [{number(fact.low, fact.unit)}, {number(fact.high, fact.unit)}]"
    return text


def facts(found: dict[str, Fact]) -> str:
    """All facts of a record, each with what it means."""
    rows = []
    for name in sorted(found):
        fact = found[name]
        meaning = translate(FACTS[name].text) if fact.value is not None else fact.why
        rows.append([name, measured(fact), fact.unit, str(fact.n) if fact.n is not None else "", meaning])
    return table(["fact", "value", "unit", "n", "meaning"], rows)


def duration(seconds: float) -> str:
    """Minutes and seconds, such as 6:05, or seconds under ten with a tenth."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def size(bytes: int) -> str:
    """Bytes in a readable unit."""
    amount = float(bytes)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def width(text: str) -> int:
    """Places in a terminal."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
