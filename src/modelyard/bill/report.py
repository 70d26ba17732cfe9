"""What a customer used: each request with its list price and what is charged for it."""

from __future__ import annotations

from collections import deque
from typing import Any

from ..records.clock import now_us
from . import contracts, customers
from .events import Open, of_contract
from .money import exact
from .period import month, to_text
from .rating import RatedEvent, rate

MOST_EVENTS = 1_000  # told one by one, the newest; the sums are always over all


def usage(
    read: Open,
    customer: str,
    period: str | None = None,
    cutoff_us: int | None = None,
    *,
    most: int = MOST_EVENTS,
) -> dict[str, Any]:
    """A customer's requests in a month "YYYY-MM", or ever, as known at the cutoff (None: now).

    `events` are the newest `most`, oldest first; money is exact, as decimal text in `currency`; `list` is
    before the included quota, `charged` after it. Each page of events is read in a short transaction. Raises
    ProjectError for an unknown customer or no month.
    """
    cutoff_us = now_us() if cutoff_us is None else cutoff_us
    newest: deque[RatedEvent] = deque(maxlen=most)
    requests = read_tokens = cached = written = 0
    with read() as connection:
        who = customers.get(connection, customer)
        versions = contracts.of_customer(connection, customer, cutoff_us)
    for contract in versions:
        span = month(period, contract.timezone) if period is not None else None
        rated = rate(contract, of_contract(read, contract.id, cutoff_us, span), cutoff_us, newest.append)
        for one in rated.months:
            requests += one.requests
            read_tokens += one.input_tokens
            cached += one.cached_tokens
            written += one.output_tokens
    if period is not None:
        month(period, who.timezone)  # tells a wrong month also where there is no contract
    return {
        "customer": customer,
        "currency": who.currency,
        "period": period,
        "requests": requests,
        "input_tokens": read_tokens,
        "cached_tokens": cached,
        "output_tokens": written,
        "events": [_told(one) for one in newest],
        "events_left_out": requests - len(newest),
    }


def _told(one: RatedEvent) -> dict[str, Any]:
    event = one.event
    return {
        "id": event.event_id,
        "source": event.source,
        "at": to_text(event.occurred_us),
        "tokens": {
            "input": event.input_tokens,
            "cached": event.cached_tokens,
            "output": event.output_tokens,
        },
        "release": event.release,
        "list": exact(one.list_price),
        "charged": exact(one.charged),
        "price_version": one.version.id,
    }
