"""The ledger's usage events out of it, as lines of CloudEvents."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import func, select

from ..records.tables.service import usage_event
from . import customers
from .cloudevents import Incoming, line
from .events import PAGE, Open
from .intake import content


def lines(read: Open, customer: str | None = None) -> Iterator[str]:
    """Every event there is at the start, voids too, in the order of recording; of one customer or of all.

    Raises ProjectError for an unknown customer.
    """
    query = select(usage_event).order_by(usage_event.c.seq).limit(PAGE)
    with read() as connection:
        if customer is not None:
            customers.get(connection, customer)
            query = query.where(usage_event.c.customer_id == customer)
        last = connection.execute(select(func.max(usage_event.c.seq))).scalar() or 0
    after = 0
    while True:
        with read() as connection:
            page = query.where(usage_event.c.seq > after, usage_event.c.seq <= last)
            rows = connection.execute(page).all()
        for row in rows:
            yield line(Incoming(*content(row)), row.plan_version_id)
        if len(rows) < PAGE:
            return
        after = rows[-1].seq
