"""Futures run through the whole plan: what is then decided otherwise, and what would show it early."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .cash import Cash, cash
from .inputs import Inputs
from .lessons import Read, lessons
from .routes import Route, routes, run_cost
from .settings import Scenario
from .team import team

# Eight of docs/plan.md and one of support; each is a shift against the plan, and a project may replace it.
BUILT_IN: Mapping[str, Scenario] = {
    "base": Scenario(
        api_price=0.2,
        rent=0.9,
        signs=("prices of the API list in this package when they are read again",),
    ),
    "shortage": Scenario(
        rent=1.4,
        rent_months=12,
        queue_days=14,
        signs=("rent of an H100 above 2.35 USD an hour for a year's contract", "waiting lists of clouds"),
    ),
    "price war": Scenario(
        api_price=0.1,
        own_price=0.1,
        signs=("a provider's cloud margin falls: Zhipu's went from 76% to 3.4% in two years",),
    ),
    "slow progress": Scenario(
        api_price=0.5,
        efficiency_months=14,
        signs=("records of fixed small tasks stand for a year", "API prices fall by less than half a year"),
    ),
    "tighter rules": Scenario(
        compliance_hours=120,
        signs=("delegated acts and guidelines of the AI Act", "a customer asks for a conformity file"),
    ),
    "export control": Scenario(
        unavailable=("H100", "H200", "B200", "A100-80GB", "A100-40GB"),
        rent=1.2,
        signs=("a licence rule names the device that you rent",),
    ),
    "data licence shock": Scenario(
        data=0.4, signs=("a source's licence or robots.txt changes", "a ruling on text and data mining")
    ),
    "dear energy": Scenario(energy=2, rent=1.06, signs=("day-ahead power prices twice those of last year",)),
    "policy support": Scenario(
        grant=30_000, demand=1.1, signs=("a call for grants or compute credits that names small teams",)
    ),
}


@dataclass(frozen=True, slots=True)
class Decisions:
    """What a plan comes down to."""

    route: str
    on: str
    machines: int | None
    build: float
    year: float | None
    break_even_month: int | None
    dry_by_end: float | None
    below_floor: Sequence[str]
    waiting_saves: float
    """Of the money for the machines that train, what half a year of progress would save."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """One future."""

    name: str
    decisions: Decisions
    changes: Sequence[str]
    """Against the plan without any shift."""
    broken: Sequence[str]
    """Lessons that are broken then and not now."""
    signs: Sequence[str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A plan in one future."""

    routes: Sequence[Route]
    cash: Cash | None
    decisions: Decisions
    broken: frozenset[str]


def outcome(inputs: Inputs, shift: Scenario | None = None) -> Outcome:
    """The whole plan under a shift."""
    ways = routes(inputs, shift)
    money = cash(inputs, ways[0], shift)
    found = lessons(Read(inputs, ways[0], money, team(inputs)))
    return Outcome(
        ways,
        money,
        _decisions(inputs, ways[0], money, shift or Scenario()),
        frozenset(one.name for one in found if one.kept is False),
    )


def outlook(inputs: Inputs, now: Outcome) -> list[Outlook]:
    """Every future, the project's own in the place of those that are built in."""
    return [
        _one(name, outcome(inputs, shift), now, shift)
        for name, shift in {**BUILT_IN, **(inputs.plan.scenarios or {})}.items()
    ]


def _one(name: str, then: Outcome, now: Outcome, shift: Scenario) -> Outlook:
    return Outlook(
        *(name, then.decisions, _changes(now.decisions, then.decisions)),
        broken=sorted(then.broken - now.broken),
        signs=shift.signs,
    )


def _decisions(inputs: Inputs, route: Route, money: Cash | None, shift: Scenario) -> Decisions:
    capacity = route.answering.capacity if route.answering else None
    return Decisions(
        route=route.name,
        on=route.on,
        machines=capacity.machines if capacity else None,
        build=route.build.value,
        year=route.year,
        break_even_month=money.break_even_month if money else None,
        dry_by_end=money.dry[-1] if money else None,
        below_floor=[
            one.name
            for one in (money.prices if money else ())
            if one.floor is not None and one.price < one.floor
        ],
        waiting_saves=run_cost(inputs, route) * (1 - 0.5 ** (6 / shift.efficiency_months)),
    )


def _changes(now: Decisions, then: Decisions) -> list[str]:
    found = []
    if then.route != now.route:
        found.append(f"route: {then.route} instead of {now.route}")
    elif then.on != now.on:
        found.append(f"on {then.on} instead of {now.on}")
    if then.machines != now.machines and then.machines is not None and now.machines is not None:
        found.append(f"{then.machines} machines instead of {now.machines}")
    if now.year and then.year and abs(math.log(then.year / now.year)) > 0.1:
        found.append(f"a year costs {then.year / now.year:.2f} times as much")
    if then.break_even_month != now.break_even_month:
        months = (then.break_even_month or "-", now.break_even_month or "-")
        found.append(f"carries itself from month {months[0]} instead of {months[1]}")
    if (
        then.dry_by_end is not None
        and now.dry_by_end is not None
        and abs(then.dry_by_end - now.dry_by_end) > 0.05
    ):
        found.append(f"runs dry with {then.dry_by_end:.0%} instead of {now.dry_by_end:.0%}")
    late, early = then.waiting_saves, now.waiting_saves
    if max(late, early) > 0.1 * now.build and abs(late - early) > 0.25 * early:
        found.append(f"waiting half a year saves {late:,.0f} of training instead of {early:,.0f}")
    new = [name for name in then.below_floor if name not in now.below_floor]
    if new:
        found.append(f"below its floor: {', '.join(new)}")
    return found
