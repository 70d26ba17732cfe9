"""What a plan cannot be made from: dates that are over, budgets and people that contradict each other."""

from __future__ import annotations

from ..errors import ProjectError
from .business import Subscription
from .devices import find
from .inputs import Inputs


def checks(inputs: Inputs) -> None:
    """Raises ProjectError with every contradiction in it."""
    found = [*_dates(inputs), *_names(inputs)]
    if found:
        raise ProjectError(
            f"{len(found)} thing{'s' * (len(found) > 1)} in the plan that cannot be:\n  "
            + "\n  ".join(found),
            where="plan",
            try_="mend the settings named above",
        )


def _dates(inputs: Inputs) -> list[str]:
    plan, today, found = inputs.plan, inputs.today, []
    if plan.deadline is not None and plan.deadline <= today:
        found.append(f"plan.deadline {plan.deadline} is over: give a day after {today}")
    for at, one in enumerate(plan.team):
        if one.joins is not None and one.leaves is not None and one.leaves < one.joins:
            found.append(f"plan.team[{at}] {one.name} leaves before joining: change joins or leaves")
    if plan.team and all(one.leaves is not None and one.leaves < today for one in plan.team):
        found.append("plan.team: everybody has left; give somebody who is there")
    for at, told in enumerate(plan.forecasts):
        if told.made > today:
            found.append(f"plan.forecasts[{at}] was made on {told.made}, which is still to come")
    return found


def _names(inputs: Inputs) -> list[str]:
    plan, found = inputs.plan, []
    for one in plan.business.revenue if plan.business else ():
        if isinstance(one, Subscription) and one.plan not in inputs.offers:
            known = ", ".join(inputs.offers) or "prices.plans tells none"
            found.append(f"plan.business.revenue sells the plan {one.plan!r}, which has no price: {known}")
    for name in (*plan.rent, *plan.own):
        if find(name) is None:
            found.append(f"plan.rent or plan.own names {name!r}, which is no device of the catalogue")
    things = {
        *inputs.gates,
        *inputs.sources,
        "data",
        "train",
        "optimize",
        "verify",
        "release",
        "serve",
        "bill",
    }
    for name in plan.responsible:
        if name not in things:
            told = ", ".join(sorted(things))
            found.append(f"plan.responsible names {name!r}, which is no gate, source or module: {told}")
    return found
