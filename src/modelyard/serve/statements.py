"""Every statement of reserving and settling, compiled once."""

from __future__ import annotations

from sqlalchemy import and_, bindparam, delete, literal_column, or_, select, update

from ..records.prepared import Prepared
from ..records.tables.service import (
    api_key,
    budget,
    budget_window,
    customer,
    event_conflict,
    hold,
    hold_budget,
    request_time,
    unreconciled,
    usage_event,
)

REAP_MOST = 200  # holds in one transaction, which lasts a few milliseconds

LIVE = hold.c.state.in_((literal_column("'held'"), literal_column("'settled'")))  # as the index says it

STANDING = Prepared(
    select(
        api_key.c.customer_id,
        api_key.c.expires_us,
        api_key.c.revoked_us,
        customer.c.timezone,
        hold.c.request_id,
        hold.c.state,
        hold.c.body_mac.label("held_mac"),
        usage_event.c.seq,
        usage_event.c.body_mac.label("event_mac"),
    )
    .select_from(
        api_key.outerjoin(customer, customer.c.id == api_key.c.customer_id)
        .outerjoin(
            hold,
            and_(hold.c.source == bindparam("source"), hold.c.event_id == bindparam("event_id"), LIVE),
        )
        .outerjoin(
            usage_event,
            and_(
                usage_event.c.source == bindparam("source"), usage_event.c.event_id == bindparam("event_id")
            ),
        )
    )
    .where(api_key.c.id == bindparam("key_id"))
)
BUDGETS = Prepared(
    select(budget)
    .where(
        budget.c.ended_us.is_(None),
        or_(
            and_(budget.c.scope == "key", budget.c.scope_id == bindparam("key_id")),
            and_(budget.c.scope == "customer", budget.c.scope_id == bindparam("customer_id")),
            and_(budget.c.scope == "project", budget.c.scope_id == ""),
        ),
    )
    .order_by(budget.c.id)
)
_OF_WINDOW = and_(
    budget_window.c.budget_id == bindparam("of"), budget_window.c.start_us == bindparam("from_us")
)
WINDOW = Prepared(select(budget_window.c.spent, budget_window.c.held).where(_OF_WINDOW))
_TAKE = (
    update(budget_window)
    .where(_OF_WINDOW)
    .values(held=budget_window.c.held + bindparam("amount"))
    .returning(budget_window.c.spent, budget_window.c.held)
)
TAKE = Prepared(_TAKE)
TAKE_IF_IT_FITS = Prepared(
    _TAKE.where(budget_window.c.spent + budget_window.c.held + bindparam("amount") <= bindparam("most"))
)
HOLD = Prepared(select(hold).where(hold.c.request_id == bindparam("id")))
EVENT = Prepared(
    select(usage_event).where(
        usage_event.c.source == bindparam("of"), usage_event.c.event_id == bindparam("event")
    )
)
OTHER = Prepared(
    select(hold.c.request_id).where(
        hold.c.source == bindparam("of"), hold.c.event_id == bindparam("event"), LIVE
    )
)
PARTS = Prepared(
    select(
        hold_budget.c.budget_id,
        hold_budget.c.start_us,
        hold_budget.c.amount,
        budget.c.unit,
        budget.c.hard,
        budget.c.most,
        budget.c.ended_us,
    )
    .join(budget, budget.c.id == hold_budget.c.budget_id)
    .where(hold_budget.c.request_id == bindparam("id"))
    .order_by(hold_budget.c.budget_id)
)
END = Prepared(update(hold).where(hold.c.request_id == bindparam("id")).values(state=bindparam("to")))
FREE = Prepared(
    update(hold)
    .where(hold.c.request_id == bindparam("id"), hold.c.state == "held")
    .values(state="released", why=bindparam("because"))
)
EXTEND = Prepared(
    update(hold)
    .where(hold.c.request_id == bindparam("id"), hold.c.state == "held")
    .values(lease_us=bindparam("until"))
)
CUT = Prepared(
    update(hold)
    .where(hold.c.state == "held", hold.c.lease_us > bindparam("until"))
    .values(lease_us=bindparam("until"))
)
OVER = Prepared(
    select(hold.c.request_id, hold.c.source, hold.c.event_id, hold.c.amount)
    .where(hold.c.state == "held", hold.c.lease_us <= bindparam("at"))
    .order_by(hold.c.lease_us, hold.c.request_id)
    .limit(REAP_MOST)
)
RECONCILE = Prepared(
    delete(unreconciled).where(
        unreconciled.c.source == bindparam("of"),
        unreconciled.c.event_id == bindparam("event"),
        select(hold.c.request_id)
        .where(hold.c.request_id == unreconciled.c.request_id, hold.c.body_mac == bindparam("mac"))
        .exists(),
    )
)
MOVE = Prepared(
    update(budget_window)
    .where(_OF_WINDOW)
    .values(held=budget_window.c.held - bindparam("freed"), spent=budget_window.c.spent + bindparam("paid"))
)
_PAY = update(budget_window).where(_OF_WINDOW).values(spent=budget_window.c.spent + bindparam("paid"))
PAY = Prepared(_PAY)
PAY_IF_IT_FITS = Prepared(
    _PAY.where(budget_window.c.spent + budget_window.c.held + bindparam("paid") <= bindparam("most"))
)

INSERT_HOLD = Prepared.insert(hold)
INSERT_HOLD_BUDGET = Prepared.insert(hold_budget)
INSERT_EVENT_CONFLICT = Prepared.insert(event_conflict)
INSERT_BUDGET_WINDOW = Prepared.insert(budget_window)
INSERT_USAGE_EVENT = Prepared.insert(usage_event)
INSERT_REQUEST_TIME = Prepared.insert(request_time)
INSERT_UNRECONCILED = Prepared.insert(unreconciled)
