"""An invoice before it is one: the same rating as the final one, at any moment of the month."""

from __future__ import annotations

from typing import Any

from ..records.clock import now_us
from . import contracts, customers
from .events import Open, of_contract
from .money import exact, payable, plain
from .period import month, month_of, to_text
from .rating import Line, Month, rate

_TEXTS = {
    "monthly": "Monthly fee of {plan}",
    "input.included": "Input tokens included in {plan}",
    "cached.included": "Cached input tokens included in {plan}",
    "output.included": "Output tokens included in {plan}",
    "input": "Input tokens beyond what {plan} includes",
    "cached": "Cached input tokens beyond what {plan} includes",
    "output": "Output tokens beyond what {plan} includes",
}


def preview(read: Open, customer: str, period: str | None, cutoff_us: int | None = None) -> dict[str, Any]:
    """What the invoice of a month "YYYY-MM" (None: the cutoff's) would say if it ended there (None: now).

    Money is decimal text: `list` and `unit_price` exact, `charged` and `total` rounded to the currency's
    minor unit, before tax. Each page of events is read in a short transaction. Raises ProjectError for an
    unknown customer or no month.
    """
    cutoff_us = now_us() if cutoff_us is None else cutoff_us
    with read() as connection:
        who = customers.get(connection, customer)
        versions = contracts.of_customer(connection, customer, cutoff_us)
    if period is None:
        period = month_of(cutoff_us, who.timezone).label
    month(period, who.timezone)
    found: list[tuple[str, Month]] = []
    for contract in versions:
        span = month(period, contract.timezone)
        rated = rate(contract, of_contract(read, contract.id, cutoff_us, span), cutoff_us)
        found += [(contract.id, one) for one in rated.months if one.period == span]
    total = sum(one.total for _, one in found)
    return {
        "customer": customer,
        "period": period,
        "cutoff": to_text(cutoff_us),
        "currency": who.currency,
        "total": payable(total, who.currency),
        "requests": sum(one.requests for _, one in found),
        "lines": [_told(line, id) for id, one in found for line in one.lines],
    }


def _told(line: Line, contract: str) -> dict[str, Any]:
    names = [part.release for part in line.parts if part.release is not None]
    return {
        "text": _TEXTS[line.item].format(plan=line.version.plan),
        "quantity": line.quantity,
        "unit_price": plain(line.unit_price),
        "list": exact(line.list_price),
        "charged": payable(line.net, line.version.currency),
        "events": line.events,
        "release": ", ".join(names) or None,
        "item": line.item,
        "price_version": line.version.id,
        "contract": contract,
        "releases": [
            {"release": part.release, "quantity": part.quantity, "events": part.events} for part in line.parts
        ],
    }
