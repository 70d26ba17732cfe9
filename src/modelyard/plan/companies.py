"""What published companies reported over time, each number with its basis; a gap is a gap."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ..errors import ProjectError

# From what can be relied on to what cannot.
BASES = ("filed", "announced", "stated", "leaked", "estimated")


# What each sells above all, by its own rows and press (docs/plan.md): as `plan.business.revenue` names it.
SELLS = {
    "OpenAI": ("subscription",),
    "Anthropic": ("subscription",),
    "DeepSeek": ("subscription",),
    "MiniMax": ("subscription",),
    "Zhipu": ("product", "service"),
    "Mistral": ("service", "product"),
    "Cohere": ("service", "product"),
}
GAP_MONTHS = 12  # between two numbers of one metric, from which on the line is broken


@dataclass(frozen=True, slots=True)
class Reported:
    """One number of a company. None where only one end, or a range, was told."""

    company: str
    date: str
    """YYYY-MM or YYYY-MM-DD, the end of the period."""
    metric: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    basis: str
    note: str
    source: str
    confidence: str


@cache
def reported() -> Sequence[Reported]:
    """All rows, by company and date."""
    with (files(__package__) / "cases" / "companies.csv").open(encoding="utf-8") as lines:
        rows = [
            Reported(
                company=row["company"],
                date=row["date"],
                metric=row["metric"],
                value=_number(row["value"]),
                low=_number(row["low"]),
                high=_number(row["high"]),
                unit=row["unit"],
                basis=row["basis"],
                note=row["note"],
                source=row["source"],
                confidence=row["confidence"],
            )
            for row in csv.DictReader(lines)
        ]
    return tuple(sorted(rows, key=lambda one: (one.company, one.metric, one.date)))


def alike(kinds: set[str]) -> Sequence[tuple[str, Sequence[Reported]]]:
    """Companies that sell some of these kinds, the closest first, with the newest row of each metric."""
    found = []
    for company, sold in SELLS.items():
        common = len(kinds & set(sold)) / len(kinds | set(sold))
        if common:
            newest = {one.metric: one for one in reported() if one.company == company}
            rows = sorted(newest.values(), key=lambda one: one.date, reverse=True)
            found.append((-common, company, rows))
    return [(company, rows) for _, company, rows in sorted(found, key=lambda one: one[:2])]


def gap_months(before: Reported, after: Reported) -> int | None:
    """Months between two rows of one metric where they are too far apart for a line; None where not."""
    (year, month), (later, then) = (tuple(map(int, one.date.split("-")[:2])) for one in (before, after))
    months = (later - year) * 12 + then - month
    return months if months > GAP_MONTHS else None


def of(company: str) -> Sequence[Reported]:
    """The rows of one company. Raises ProjectError for one that the table does not have."""
    known = sorted({one.company for one in reported()})
    near = difflib.get_close_matches(company.lower(), [one.lower() for one in known], n=1, cutoff=0.6)
    if not near:
        raise ProjectError(
            f"no company of the table is called {company!r}", try_=f"one of {', '.join(known)}"
        )
    return [one for one in reported() if one.company.lower() == near[0]]


def _number(text: str) -> float | None:
    return float(text) if text else None
