"""What a part of a plan is made of: lines and tables, for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..plan.backtest import Range
from ..plan.companies import Reported
from .table import number, table, width
from .voice import translate

WIDEST = 78  # characters of a reason in a table
TITLES = {
    "routes": "Which way",
    "run": "Training on this machine",
    "team": "Team",
    "business": "Business",
    "position": "Position",
    "cases": "Nearest cases",
    "lessons": "Lessons",
    "outlook": "Outlook",
    "forecasts": "Forecasts",
}


@dataclass(frozen=True, slots=True)
class Table:
    """Names of the columns, to be translated, and rows that are."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a plan, in the chosen language."""

    name: str
    lead: Sequence[str]
    tables: Sequence[Table]
    notes: Sequence[str]

    @property
    def title(self) -> str:
        """As it is headed."""
        return translate(TITLES[self.name])

    def text(self) -> str:
        """For a terminal."""
        tables = "\n\n".join(table(one.head, one.rows) for one in self.tables)
        blocks = ["\n".join(self.lead), tables, "\n".join(f"- {line}" for line in self.notes)]
        return "\n\n".join(
            [f"{self.title}\n{'=' * width(self.title)}", *(block for block in blocks if block)]
        )


def reported(one: Reported) -> str:
    """A company's number with its unit; a bound or a range as it was told."""
    if one.value is not None:
        value = number(one.value)
    elif one.high is None:
        value = f"> {number(one.low)}"
    else:
        value = f"{number(one.low)} - {number(one.high)}"
    return f"{value} {translate(one.unit)}"


def estimate(found: Range | None) -> str:
    """A range as 12 [8, 30]; a dash where nothing is predicted."""
    if found is None:
        return "-"
    return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"


def between(found: Range) -> str:
    """A range as 12 [8, 30], or one number where it has no width."""
    if found.low == found.high:
        return number(found.value)
    return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"


def thing(text: str) -> str:
    """A gate, source or module with its kind translated."""
    kind, _, name = text.partition(" ")
    return f"{translate(kind)} {name}"


def cut(text: str, most: int = WIDEST) -> str:
    """As much of a text as a table has room for."""
    return text if len(text) <= most else text[: most - 1] + "…"
