"""Usage events as the ledger holds them, in the order of rating, read in pages so that memory stays flat."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from sqlalchemy import ColumnElement, Connection, Select, and_, case, or_, select, tuple_
from sqlalchemy.sql.expression import exists

from ..records.tables.service import usage_event
from .period import Period
from .rating import UsageEvent

PAGE = 5_000  # rows of one query: about 50 ms, far below the 5 s that a reader may stay open

Open = Callable[[], AbstractContextManager[Connection]]
"""How to get a connection for one page, such as `ledger.read`."""


def of_contract(
    read: Open, contract_id: str, cutoff_us: int, period: Period | None = None
) -> Iterator[UsageEvent]:
    """A contract's events recorded by the cutoff, of one month or all, in the order of rating.

    Events are only ever added, and what is recorded after the cutoff is not read: pages read one after
    another are as if they were read at one moment.
    """
    at_us = usage_event.c.occurred_us
    order = (at_us, usage_event.c.source, usage_event.c.event_id)
    base = _query(cutoff_us).where(usage_event.c.contract_id == contract_id).order_by(*order).limit(PAGE)
    page = base
    if period is not None:
        base = base.where(at_us < period.end_us)
        page = base.where(at_us >= period.start_us)
    while True:
        with read() as connection:
            rows = connection.execute(page).all()
        for row in rows:
            yield UsageEvent._make(row)
        if len(rows) < PAGE:
            return
        last = rows[-1]
        # The first comparison follows from the second, and is what an index is searched by: one lower bound
        # only, or each page would be looked for from the start of the month.
        page = base.where(
            at_us >= last.occurred_us,
            tuple_(*order) > tuple_(last.occurred_us, last.source, last.event_id),
        )


def _query(cutoff_us: int) -> Select[tuple[object, ...]]:
    event = usage_event.c
    query: Select[tuple[object, ...]] = select(
        event.source,
        event.event_id,
        event.occurred_us,
        event.recorded_us,
        event.input_tokens,
        event.cached_tokens,
        event.output_tokens,
        event.plan_version_id,
        event.release_id,
        event.kind,
        case((_withdrawn(cutoff_us), 1), else_=0).label("withdrawn"),
    ).where(event.recorded_us <= cutoff_us)
    return query


def _withdrawn(cutoff_us: int) -> ColumnElement[bool]:
    """Whether an event was voided or replaced by the cutoff.

    The rule does not depend on which correction came first: an event with any correction does not count; of
    several replacements of one event only the one with the greatest id can count, and none beside a void.
    Corrections are of the same source and customer as what they correct.
    """
    event, other, rival = usage_event, usage_event.alias(), usage_event.alias()
    corrected = exists().where(
        other.c.source == event.c.source,
        other.c.refers_to == event.c.event_id,
        other.c.customer_id == event.c.customer_id,
        other.c.recorded_us <= cutoff_us,
    )
    beaten = exists().where(
        rival.c.source == event.c.source,
        rival.c.refers_to == event.c.refers_to,
        rival.c.customer_id == event.c.customer_id,
        rival.c.recorded_us <= cutoff_us,
        or_(rival.c.kind == "void", rival.c.event_id > event.c.event_id),
    )
    return or_(corrected, and_(event.c.kind == "replace", beaten))
