"""What each kind of revenue brings and takes, month by month, in all futures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ProjectError
from ..estimate.economics import annotation_unit
from .business import Annotation, Product, Revenue, Service, Subscription
from .draws import Array, Draws
from .inputs import Inputs
from .settings import Scenario


@dataclass(frozen=True, slots=True)
class Stream:
    """Of one source of revenue; every array is (futures, months)."""

    name: str
    kind: str
    revenue: Array
    """Invoiced in the month."""
    direct: Array
    """What it costs besides machines and the team: annotators."""
    hours: Array
    """Hours of the team that it takes."""
    tokens: Array
    prepaid: bool
    """Whether it is paid when it begins, as subscriptions are."""
    customers: Array | None = None


def stream(inputs: Inputs, at: int, told: Revenue, draws: Draws, shift: Scenario) -> Stream:
    """Draw one source of revenue. Raises ProjectError for a subscription to a plan that has no price."""
    if isinstance(told, Subscription):
        return _subscription(inputs, told, draws, shift)
    if isinstance(told, Service):
        return _service(inputs, at, told, draws, shift)
    if isinstance(told, Product):
        return _product(inputs, at, told, draws, shift)
    return _annotation(inputs, at, told, draws, shift)


def _subscription(inputs: Inputs, told: Subscription, draws: Draws, shift: Scenario) -> Stream:
    offer = inputs.offers.get(told.plan)
    if offer is None:
        raise ProjectError(
            f"the subscription names the plan {told.plan!r}, which has no price",
            where="plan.business.revenue",
            try_=f"one of prices.plans: {', '.join(inputs.offers) or 'none is told'}",
        )
    months, name = inputs.plan.months, told.plan
    new = draws.of(f"{name}: new customers a month", told.new_per_month) * shift.demand
    churn = np.minimum(draws.of(f"{name}: share that leaves a month", told.churn_per_month), 1.0)
    used, source = _used(inputs, told)
    tokens = draws.of(f"{name}: tokens of a customer a month{source}", used)
    support = draws.of(f"{name}: support hours of a customer a month", told.support_hours)
    joined = draws.random.poisson(np.repeat(new[:, None], months, axis=1)).astype(np.float64)
    customers = np.empty((draws.count, months))
    now = np.full(draws.count, float(inputs.sold.customers if inputs.sold else told.customers))
    for month in range(months):
        now = now * (1 - churn) + joined[:, month]
        customers[:, month] = now
    price = np.array(
        [offer.charged(one * (1 - told.output_share), one * told.output_share) for one in tokens]
    )
    each = price[:, None] * _drift(shift.own_price, months)
    return Stream(
        *(name, "subscription", customers * each, np.zeros_like(customers)),
        hours=customers * support[:, None],
        tokens=customers * tokens[:, None],
        prepaid=True,
        customers=customers,
    )


def _used(inputs: Inputs, told: Subscription) -> tuple[tuple[float, float, float], str]:
    """Tokens of a customer and month: metered ones replace the planned ones once there is a month of them."""
    sold = inputs.sold
    if sold is None or sold.months < 1 or not sold.customers:
        return told.tokens_per_month, ""
    each = (sold.input_tokens + sold.output_tokens) / sold.months / sold.customers
    return (each / 2, each, each * 2), " (metered)"


def _service(inputs: Inputs, at: int, told: Service, draws: Draws, shift: Scenario) -> Stream:
    hours = _monthly(
        draws.of(_name(inputs, told, at, "hours a month"), told.hours_per_month) * shift.demand, told, inputs
    )
    return Stream(
        *(_name(inputs, told, at), "service", hours * told.per_hour, np.zeros_like(hours), hours),
        tokens=np.zeros_like(hours),
        prepaid=False,
    )


def _product(inputs: Inputs, at: int, told: Product, draws: Draws, shift: Scenario) -> Stream:
    rate = draws.of(_name(inputs, told, at, "copies a month"), told.copies_per_month) * shift.demand
    support = draws.of(_name(inputs, told, at, "hours of a copy"), told.support_hours)
    months = inputs.plan.months
    copies = draws.random.poisson(_monthly(rate, told, inputs)).astype(np.float64)
    kept = np.zeros_like(copies)  # copies sold over a year ago, whose maintenance is paid
    kept[:, 12:] = np.cumsum(copies, axis=1)[:, : max(0, months - 12)]
    price = told.price * _drift(shift.own_price, months)
    return Stream(
        *(
            _name(inputs, told, at),
            "product",
            copies * price + kept * told.price * told.maintenance_share / 12,
        ),
        direct=np.zeros_like(copies),
        hours=copies * support[:, None],
        tokens=np.zeros_like(copies),
        prepaid=False,
    )


def _annotation(inputs: Inputs, at: int, told: Annotation, draws: Draws, shift: Scenario) -> Stream:
    units = _monthly(
        draws.of(_name(inputs, told, at, "units a month"), told.units_per_month) * shift.demand, told, inputs
    )
    seconds = draws.of(_name(inputs, told, at, "seconds of a unit"), told.seconds)
    each = annotation_unit(1.0, told.annotators, told.wage_per_hour, told.accepted, told.checked)
    return Stream(
        *(_name(inputs, told, at), "annotation", units * told.price, units * (seconds * each)[:, None]),
        hours=np.zeros_like(units),
        tokens=np.zeros_like(units),
        prepaid=False,
    )


def _name(inputs: Inputs, told: Revenue, at: int, what: str = "") -> str:
    """Its kind, numbered where the project has several of it."""
    same = [
        one for one in (inputs.plan.business.revenue if inputs.plan.business else ()) if one.kind == told.kind
    ]
    name = told.kind if len(same) < 2 else f"{told.kind} {at + 1}"
    return f"{name}: {what}" if what else name


def _monthly(each: Array, told: Service | Product | Annotation, inputs: Inputs) -> Array:
    """(futures, months), nothing before it starts."""
    begun = np.arange(1, inputs.plan.months + 1) >= told.starts
    return each[:, None] * begun


def _drift(factor_a_year: float, months: int) -> Array:
    """A price that falls or rises by this factor within a year, and on."""
    return np.asarray(factor_a_year ** (np.arange(months) / 12), np.float64)
