"""What was expected, scored when it is due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from .inputs import Inputs
from .settings import Forecast

MISSED = 2 / 0.2  # what a miss costs for each unit beyond an 80% interval (Gneiting and Raftery 2007, eq. 43)


@dataclass(frozen=True, slots=True)
class Scored:
    """A forecast and what came of it."""

    what: str
    by: date
    told: str
    outcome: float | None
    source: str
    state: str
    """open, due, inside, outside, or scored."""
    score: float | None
    """Interval score (in the number's unit), or Brier's: smaller is better."""


@dataclass(frozen=True, slots=True)
class Register:
    """All forecasts, and how well they did."""

    all: Sequence[Scored]
    inside: float | None
    """Share of the resolved ranges that held it; 80% is right."""
    brier: float | None
    """Mean of the resolved chances; 0.25 is what a coin gets."""


def register(inputs: Inputs) -> Register:
    """Resolve and score. A fact's name is resolved by the yard once the day has come."""
    found = [_scored(inputs, one) for one in inputs.plan.forecasts]
    ranged = [one for one in found if one.state in ("inside", "outside")]
    chances = [one.score for one in found if one.state == "scored" and one.score is not None]
    return Register(
        found,
        sum(one.state == "inside" for one in ranged) / len(ranged) if ranged else None,
        sum(chances) / len(chances) if chances else None,
    )


def _scored(inputs: Inputs, told: Forecast) -> Scored:
    outcome, source = told.outcome, "told"
    if outcome is None and told.by <= inputs.today:
        outcome, source = inputs.standing.value(told.what), inputs.standing.source(told.what)
    said = f"{told.chance:.0%}" if told.chance is not None else f"{told.low:g} to {told.high:g}"
    if outcome is None:
        return Scored(told.what, told.by, said, None, "", "due" if told.by <= inputs.today else "open", None)
    if told.chance is not None:
        return Scored(
            told.what, told.by, said, outcome, source, "scored", (told.chance - float(outcome > 0)) ** 2
        )
    low, high = told.low or 0.0, told.high or 0.0
    score = high - low + MISSED * (max(0.0, low - outcome) + max(0.0, outcome - high))
    return Scored(
        told.what, told.by, said, outcome, source, "inside" if low <= outcome <= high else "outside", score
    )
