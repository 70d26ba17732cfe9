"""Dated list prices of answers that are bought."""

from __future__ import annotations

import csv
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

OLD_DAYS = 180  # prices at a fixed quality fell by 5 times a year and more (docs/plan.md), so they age fast


@dataclass(frozen=True, slots=True)
class Api:
    """What a provider asked for a million tokens on a day."""

    provider: str
    model: str
    input_usd_per_mtok: float
    output_usd_per_mtok: float
    date: datetime.date
    source: str

    def usd_per_answer(self, input_tokens: float, output_tokens: float) -> float:
        """Of so many tokens, nothing of them cached."""
        return (input_tokens * self.input_usd_per_mtok + output_tokens * self.output_usd_per_mtok) / 1e6

    def is_old(self, today: datetime.date) -> bool:
        """Whether the price should be looked up again."""
        return (today - self.date).days > OLD_DAYS


@cache
def apis() -> Sequence[Api]:
    """All of the package's file."""
    with (files(__package__) / "apis.csv").open(encoding="utf-8") as lines:
        return tuple(
            Api(
                row["provider"],
                row["model"],
                float(row["input_usd_per_mtok"]),
                float(row["output_usd_per_mtok"]),
                datetime.date.fromisoformat(row["date"]),
                row["source"],
            )
            for row in csv.DictReader(lines)
        )
