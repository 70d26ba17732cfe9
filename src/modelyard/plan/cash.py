"""Money in and out, month by month, in two thousand futures: when it runs dry, when it carries itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from ..estimate.economics import (
    HOURS_PER_MONTH,
    annotation_unit,
    bill_rate_floor,
    break_even_units,
    gross_margin,
    lifetime_value,
    price_floor,
    usd_per_mtok,
)
from .backtest import Range
from .business import Annotation, Product, Service, Subscription
from .capacity import most_per_s
from .draws import Array, Draws, movers, range_of
from .inputs import Inputs
from .people import cost_of, people
from .routes import Route, run_cost
from .settings import Scenario
from .streams import Stream, stream

BILLABLE = 0.6  # of the hours of those who sell hours: assumed
WEEKS = 52 / 12  # of a month
BUSIEST = 3.0  # times the mean load that machines must stand at the busiest hours, where no load was told
LASTS = 36  # months of a customer that are counted: longer is hope
EARLY = 3  # the month at which the hours that sold work takes are told


@dataclass(frozen=True, slots=True)
class Price:
    """What is sold, what it costs, and the lowest price that leaves the margin. In the plan's currency."""

    name: str
    unit: str
    price: float
    cost: Range
    floor: float | None
    margin: float | None
    """Gross, at the middle of the cost."""
    break_even: float | None
    """Units a month that would pay everything else."""
    worth: Range | None = None
    """What a customer leaves until it goes, over LASTS months at most: what winning one may cost."""


@dataclass(frozen=True, slots=True)
class Cash:
    """The path. Lists have one entry for each month."""

    months: int
    cash: Sequence[Range]
    revenue: Sequence[Range]
    spent: Sequence[Range]
    dry: Sequence[float]
    """How likely the cash has been below zero by then."""
    break_even_month: int | None
    """From which on half of the futures earn more than they spend."""
    customers: Range | None
    """At the end."""
    revenue_year: dict[str, Range]
    """Of the first twelve months, by source."""
    shares: dict[str, float]
    """Of the costs of the first twelve months: team, machines, annotators, other."""
    prices: Sequence[Price]
    movers: Sequence[tuple[str, float, float]]
    """Input, and the cash at the end in its lowest and its highest fifth."""
    hours_per_week: float
    """That sold work takes of the team in the third month, in the middle."""
    assumed: Sequence[str]


def cash(inputs: Inputs, route: Route, shift: Scenario | None = None, *, seed: int = 0) -> Cash | None:
    """None where the project told no `plan.business`."""
    told, shift = inputs.plan.business, shift or Scenario()
    if told is None:
        return None
    draws, months = Draws(seed), inputs.plan.months
    streams = [stream(inputs, at, one, draws, shift) for at, one in enumerate(told.revenue)]
    zero = np.zeros((draws.count, months))
    revenue = sum((one.revenue for one in streams), zero)
    delay = draws.of("days until an invoice is paid", told.paid_after_days)
    received = sum((one.revenue if one.prepaid else _late(one.revenue, delay) for one in streams), zero)
    machines = _machines(inputs, route, streams, shift, zero)
    paid = _team(inputs, shift) + zero
    other = draws.of("other costs of a month", told.other_per_month)[:, None] + zero
    direct = sum((one.direct for one in streams), zero)
    funded, credit = _funding(inputs, draws, zero, shift)
    machines = _less_credit(machines, credit)
    fees = told.fee_share * received
    spent = paid + machines + other + direct + fees
    tax = told.tax_share * np.maximum(0.0, received - spent)
    net = received - spent - tax
    path = told.cash + np.cumsum(net + funded, axis=1)
    dry = (np.minimum.accumulate(path, axis=1) < 0).mean(axis=0)
    year = slice(0, min(12, months))
    costs = {"team": paid, "machines": machines, "annotators": direct, "other": other + fees + tax}
    whole = sum(float(one[:, year].mean()) for one in costs.values())
    return Cash(
        months=months,
        cash=_by_month(path),
        revenue=_by_month(revenue),
        spent=_by_month(spent + tax),
        dry=[float(one) for one in dry],
        break_even_month=_break_even(net),
        customers=_customers(streams),
        revenue_year={one.name: range_of(one.revenue[:, year].sum(axis=1)) for one in streams},
        shares={name: float(one[:, year].mean()) / whole for name, one in costs.items()} if whole else {},
        prices=_prices(inputs, route, streams, draws, float(spent[:, year].mean())),
        movers=movers(draws, path[:, -1]),
        hours_per_week=float(np.median(sum((one.hours for one in streams), zero)[:, min(EARLY, months) - 1]))
        / WEEKS,
        assumed=_assumed(inputs, route),
    )


def token_cost(inputs: Inputs, route: Route) -> float:
    """Of a million tokens, in the plan's currency: as measured, else by the route's own price or machine.

    Nothing where the route has neither: `assumed` says so.
    """
    measured = inputs.standing.value("cost.usd_per_mtok")
    tokens = inputs.input_tokens + inputs.output_tokens
    if route.per_answer is not None:
        return route.per_answer / tokens * 1e6
    if measured is not None:
        return measured * inputs.plan.rate
    if route.answering is None:
        return 0.0
    hour = route.answering.option.usd_per_hour[1] * inputs.plan.rate
    rate = most_per_s(route.answering.speed, inputs.input_tokens, inputs.output_tokens)
    return usd_per_mtok(hour, rate * tokens, 1.0)


def _machines(inputs: Inputs, route: Route, streams: Sequence[Stream], shift: Scenario, zero: Array) -> Array:
    """Machines that are up all month, as many as the load needs; a bought answer costs only itself."""
    tokens = sum((one.tokens for one in streams), zero)
    months = np.arange(tokens.shape[1])
    each = token_cost(inputs, route) / 1e6
    found = zero.copy()
    if route.kind == "buy":
        found += tokens * each * shift.api_price ** (months / 12)
    elif route.answering is not None:
        option = route.answering.option
        dear = np.where(months < shift.rent_months, 1.0, 1 / shift.rent) if option.kind == "rent" else 1.0
        hour = option.usd_per_hour[1] * inputs.plan.rate * dear
        least = route.answering.capacity.machines if route.answering.capacity else 1
        busy_hours = tokens * each / max(option.usd_per_hour[1] * inputs.plan.rate, 1e-12)
        count = np.maximum(least, np.ceil(busy_hours * BUSIEST / HOURS_PER_MONTH))
        found += count * hour * HOURS_PER_MONTH
    if route.machine_hours is not None:
        found[:, 0] += run_cost(inputs, route)
    return found


def _team(inputs: Inputs, shift: Scenario) -> Array:
    """(months,): everyone who is there in the middle of the month; law and evidence in the first."""
    plan = inputs.plan
    if plan.business is None or not plan.business.pays_team:
        return np.zeros(plan.months)
    found = np.zeros(plan.months)
    for month in range(plan.months):
        middle = inputs.today + timedelta(days=round((month + 0.5) * 365 / 12))
        there = (one for one in plan.team if one.is_there(middle))
        found[month] = sum(one.hours_per_week * WEEKS * cost_of(one) * plan.rate for one in there)
    if not plan.team:
        found += people(inputs).hours_per_week * WEEKS * people(inputs).cost_per_hour
    found[0] += shift.compliance_hours * people(inputs).cost_per_hour
    return found


def _late(revenue: Array, days: Array) -> Array:
    """What arrives in each month of what was invoiced, some days later."""
    months = days / (365 / 12)
    found = np.zeros_like(revenue)
    for whole in range(int(months.max()) + 2):
        share = np.maximum(0.0, 1 - np.abs(months - whole))[:, None]
        found[:, whole:] += share * revenue[:, : revenue.shape[1] - whole]
    return found


def _funding(inputs: Inputs, draws: Draws, zero: Array, shift: Scenario) -> tuple[Array, Array]:
    """Money by month, and credits for machines by month."""
    money, credit = zero.copy(), zero.copy()
    months = np.arange(zero.shape[1])
    for at, one in enumerate(inputs.plan.business.funding if inputs.plan.business else ()):
        amount = draws.of(f"{one.kind} {at + 1}: amount", one.amount)
        lead = draws.of(f"{one.kind} {at + 1}: months until it comes", one.lead_months)
        comes = draws.random.random(draws.count) < one.chance
        arrives = (np.floor(lead)[:, None] == months) * (amount * comes)[:, None]
        if one.kind == "compute credit":
            credit += arrives
        else:
            money += arrives
    if shift.grant and zero.shape[1] > 6:
        money[:, 6] += shift.grant * inputs.plan.rate
    return money, credit


def _less_credit(machines: Array, credit: Array) -> Array:
    """Machines are paid from the credit that is there, and from cash after that."""
    left, found = np.zeros(len(machines)), machines.copy()
    for month in range(machines.shape[1]):
        left += credit[:, month]
        used = np.minimum(left, machines[:, month])
        found[:, month] -= used
        left -= used
    return found


def _by_month(values: Array) -> list[Range]:
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=0)
    return [Range(float(m), float(a), float(b)) for a, m, b in zip(low, middle, high, strict=True)]


def _break_even(net: Array) -> int | None:
    """The first month from which on the median never falls below zero again."""
    median = np.median(net, axis=0)
    below = np.flatnonzero(median < 0)
    first = int(below[-1]) + 1 if below.size else 0
    return first + 1 if first < net.shape[1] else None


def _customers(streams: Sequence[Stream]) -> Range | None:
    counted = [one.customers[:, -1] for one in streams if one.customers is not None]
    return range_of(sum(counted[1:], counted[0])) if counted else None


def _prices(
    inputs: Inputs, route: Route, streams: Sequence[Stream], draws: Draws, spent: float
) -> list[Price]:
    """Each thing that is sold against what one of it costs."""
    told = inputs.plan.business
    fee, margin = (told.fee_share, told.margin) if told else (0.0, 0.0)
    hour, mtok = people(inputs).cost_per_hour, token_cost(inputs, route)
    found: list[Price] = []
    for one, made in zip(told.revenue if told else (), streams, strict=True):
        worth = None
        if isinstance(one, Subscription):
            support = _drawn(draws, f"{one.plan}: support", one.support_hours)
            tokens = _drawn(draws, f"{one.plan}: tokens", one.tokens_per_month)
            each = support * hour + tokens * mtok / 1e6
            cost, unit = range_of(each), "customer and month"
            customers = made.customers if made.customers is not None else np.ones_like(made.revenue)
            price = float(made.revenue.sum() / max(customers.sum(), 1e-9))
            churn = _drawn(draws, f"{one.plan}: share that leaves", one.churn_per_month)
            worth = range_of(lifetime_value(price * (1 - fee) - each, np.minimum(churn, 1.0), LASTS))
        elif isinstance(one, Service):
            floor = bill_rate_floor(hour, BILLABLE, 0) if hour else 0.0
            cost, unit, price = Range(floor, floor, floor), "hour", one.per_hour
        elif isinstance(one, Product):
            costs = [hours * hour for hours in one.support_hours]
            cost, unit, price = Range(costs[1], costs[0], costs[2]), "copy", one.price
        else:
            costs = [_unit(one, seconds) for seconds in one.seconds]
            cost, unit, price = Range(costs[1], costs[0], costs[2]), "accepted unit", one.price
        found.append(
            Price(
                *(made.name, unit, price, cost),
                floor=price_floor(cost.value, 0.0, fee, margin),
                margin=gross_margin(price, cost.value, fee),
                break_even=break_even_units(spent, price, cost.value, fee),
                worth=worth,
            )
        )
    return found


def _drawn(draws: Draws, name: str, told: tuple[float, float, float]) -> Array:
    """What was drawn for the input whose name begins so; its middle where nothing is uncertain."""
    found = (values for given, values in draws.given.items() if given.startswith(name))
    return next(found, np.full(draws.count, told[1]))


def _unit(one: Annotation, seconds: float) -> float:
    return annotation_unit(seconds, one.annotators, one.wage_per_hour, one.accepted, one.checked)


def _assumed(inputs: Inputs, route: Route) -> list[str]:
    found = list(people(inputs).assumed)
    if inputs.standing.value("cost.usd_per_mtok") is None:
        found.append("cost of tokens: planned, nothing has been measured")
    if inputs.sold is None:
        found.append("customers and their use: planned, nothing has been metered")
    if route.answering is None and route.kind not in ("buy", "wait"):
        found.append("no machine: none that fits")
    return found


def runway_months(found: Cash) -> int:
    """Months until the cash is below zero with one in ten; all of them where it never is."""
    return next((at for at, share in enumerate(found.dry) if share > 0.1), found.months)
