"""Who there is on a day: hours a week and what an hour costs."""

from __future__ import annotations

from dataclasses import dataclass

from ..estimate.economics import DEVELOPER_USD_PER_HOUR
from .inputs import Inputs
from .settings import Person


@dataclass(frozen=True, slots=True)
class People:
    """The team of today. Money in the plan's currency."""

    there: tuple[Person, ...]
    hours_per_week: float
    cost_per_hour: float
    """Mean over the hours; 0 where the people are not paid from the business."""
    assumed: tuple[str, ...]


def people(inputs: Inputs) -> People:
    """Who is there today; one person full time where nobody was told."""
    plan = inputs.plan
    there = tuple(one for one in plan.team if one.is_there(inputs.today))
    hours = sum(one.hours_per_week for one in there)
    assumed = []
    if not plan.team:
        hours = 40.0
        assumed.append("one person, 40 hours a week: nobody told the team")
    if any(one.usd_per_hour is None for one in there) or not plan.team:
        assumed.append(
            f"{DEVELOPER_USD_PER_HOUR:.0f} USD an hour, a developer's median with everything on top (BLS)"
        )
    paid = plan.business is None or plan.business.pays_team
    spent = (
        sum(one.hours_per_week * cost_of(one) for one in there) if plan.team else 40 * DEVELOPER_USD_PER_HOUR
    )
    each = spent / hours * plan.rate if hours and paid else 0.0
    return People(there, hours, each, tuple(assumed))


def cost_of(person: Person) -> float:
    """USD an hour."""
    return DEVELOPER_USD_PER_HOUR if person.usd_per_hour is None else person.usd_per_hour
