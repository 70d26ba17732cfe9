"""What budgets have spent, counted again from the events after a price was set right."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, select, update

from ..records.tables.service import budget, budget_window, hold, hold_budget, usage_event
from .plans import replacements, resolve, versions
from .rates import nano


def recount(connection: Connection, version_ids: Sequence[str]) -> int:
    """Count the days and months of standing money budgets that hold a request priced by one of the versions.

    Each request counts its list price by the version that it is charged by now, in nano-units rounded up, as
    when it was settled. Returns how many days and months changed. The time grows with the requests in them:
    about 15 s for a million, in which no other writer gets in.
    """
    window = (hold_budget.c.budget_id, hold_budget.c.start_us)
    touched = (
        select(*window)
        .join(hold, hold.c.request_id == hold_budget.c.request_id)
        .join(budget, budget.c.id == hold_budget.c.budget_id)
        .where(budget.c.unit == "money", budget.c.ended_us.is_(None), hold.c.state == "settled")
        .where(hold.c.plan_version_id.in_(version_ids))
        .distinct()
    )
    replaced, known = replacements(connection), versions(connection)
    changed = 0
    for budget_id, start_us in connection.execute(touched).all():
        here = and_(hold_budget.c.budget_id == budget_id, hold_budget.c.start_us == start_us)
        events = (
            select(
                usage_event.c.plan_version_id,
                usage_event.c.input_tokens,
                usage_event.c.cached_tokens,
                usage_event.c.output_tokens,
            )
            .join(
                hold, and_(hold.c.source == usage_event.c.source, hold.c.event_id == usage_event.c.event_id)
            )
            .join(hold_budget, hold_budget.c.request_id == hold.c.request_id)
            .where(here, hold.c.state == "settled")
        )
        total = 0
        for id, read, cached, written in connection.execute(events):
            total += nano(known[resolve(id, replaced)].rates.list_price(read, cached, written))
        place = and_(budget_window.c.budget_id == budget_id, budget_window.c.start_us == start_us)
        if connection.execute(select(budget_window.c.spent).where(place)).scalar() != total:
            connection.execute(update(budget_window).where(place).values(spent=total))
            changed += 1
    return changed
