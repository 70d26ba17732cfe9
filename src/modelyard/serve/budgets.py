"""Budgets: set, listed, ended. What was spent before a budget was set is not counted in it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, insert, select, update

from ..errors import ProjectError
from ..records import audit
from ..records.tables.service import api_key, budget, budget_window, customer
from .windows import SPANS, window

SCOPES = ("key", "customer", "project")
UNITS = ("money", "tokens")
ALERTS = (80, 100)
LARGEST = 2**62  # with what is held and asked for on top it stays a 64-bit number


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget and its present day or month; nano-units of its currency, or tokens."""

    id: str
    scope: str
    scope_id: str
    """Id of the key or the customer; "" for the whole project."""
    span: str
    unit: str
    currency: str
    """"" for tokens."""
    most: int
    hard: bool
    alerts: tuple[int, ...]
    """Percent at which the owner is told."""
    created_us: int
    ended_us: int | None
    spent: int
    held: int
    resets_us: int | None


def set_(
    connection: Connection,
    scope: str,
    scope_id: str,
    span: str,
    unit: str,
    currency: str,
    most: int,
    hard: bool,
    at_us: int,
    alerts: Sequence[int] = ALERTS,
) -> Budget:
    """Make the budget of a scope, span and unit, or change the one that stands: what it counted stays.

    A budget below what is spent already refuses until its day or month is over. Raises ProjectError for
    values that cannot be.
    """
    _check(connection, scope, scope_id, span, unit, currency, most, alerts)
    same = select(budget.c.id).where(
        budget.c.ended_us.is_(None),
        budget.c.scope == scope,
        budget.c.scope_id == scope_id,
        budget.c.span == span,
        budget.c.unit == unit,
        budget.c.currency == currency,
    )
    values = {"most": most, "hard": hard, "alerts": json.dumps(list(alerts))}
    id = connection.execute(same).scalar()
    if id is None:
        id = f"budget-{secrets.token_hex(6)}"
        row = {"scope": scope, "scope_id": scope_id, "span": span, "unit": unit, "currency": currency}
        connection.execute(insert(budget).values(id=id, **row, **values, created_us=at_us))
    else:
        connection.execute(update(budget).where(budget.c.id == id).values(**values))
    told = {"scope": scope, "scope_id": scope_id, "span": span, "unit": unit, "currency": currency}
    audit.append(connection, "budget.set", id, {**told, "most": most, "hard": hard})
    return get(connection, id, at_us)


def end(connection: Connection, id: str, at_us: int) -> Budget:
    """End a budget at once; a second time changes nothing. Requests under way still settle in it."""
    found = get(connection, id, at_us)
    if found.ended_us is None:
        connection.execute(update(budget).where(budget.c.id == id).values(ended_us=at_us))
        audit.append(connection, "budget.ended", id, {"at_us": at_us})
    return get(connection, id, at_us)


def get(connection: Connection, id: str, at_us: int) -> Budget:
    """A budget by its id. Raises ProjectError when there is none."""
    row = connection.execute(select(budget).where(budget.c.id == id)).first()
    if row is None:
        raise ProjectError(f"there is no budget {id!r}", try_="`modelyard budgets list`")
    return _budget(connection, row, at_us)


def listed(connection: Connection, at_us: int, *, ended: bool = False) -> list[Budget]:
    """All budgets that stand, or the ended ones too, by scope."""
    query = select(budget).order_by(budget.c.scope, budget.c.scope_id, budget.c.span, budget.c.id)
    if not ended:
        query = query.where(budget.c.ended_us.is_(None))
    return [_budget(connection, row, at_us) for row in connection.execute(query).all()]


def timezone_of(connection: Connection, scope: str, scope_id: str) -> str:
    """The time zone of a budget's days and months: its customer's, or UTC for the project."""
    if scope == "project":
        return "UTC"
    query = select(customer.c.timezone)
    if scope == "customer":
        query = query.where(customer.c.id == scope_id)
    else:
        query = query.join(api_key, api_key.c.customer_id == customer.c.id).where(api_key.c.id == scope_id)
    return connection.execute(query).scalar() or "UTC"


def _budget(connection: Connection, row: Row[*tuple[Any, ...]], at_us: int) -> Budget:
    start_us, end_us = window(row.span, timezone_of(connection, row.scope, row.scope_id), at_us)
    now = connection.execute(
        select(budget_window.c.spent, budget_window.c.held).where(
            and_(budget_window.c.budget_id == row.id, budget_window.c.start_us == start_us)
        )
    ).first()
    names = ("id", "scope", "scope_id", "span", "unit", "currency", "most", "hard", "created_us", "ended_us")
    return Budget(
        **{name: getattr(row, name) for name in names},
        alerts=tuple(json.loads(row.alerts)),
        spent=now.spent if now else 0,
        held=now.held if now else 0,
        resets_us=end_us,
    )


def _check(
    connection: Connection,
    scope: str,
    scope_id: str,
    span: str,
    unit: str,
    currency: str,
    most: int,
    alerts: Sequence[int],
) -> None:
    for what, value, known in (("scope", scope, SCOPES), ("span", span, SPANS), ("unit", unit, UNITS)):
        if value not in known:
            raise ProjectError(f"a budget has no {what} {value!r}", try_=f"one of {', '.join(known)}")
    if not 0 <= most <= LARGEST:
        raise ProjectError("a budget is at least 0 and fits the ledger's numbers")
    if (unit == "money") != bool(currency):
        raise ProjectError("a budget of money has a currency, one of tokens has none")
    if any(not 1 <= level <= 1000 for level in alerts):
        raise ProjectError("an alert is a percentage from 1 to 1000", try_="such as 80")
    table = {"key": api_key, "customer": customer}.get(scope)
    if (table is None) != (scope_id == ""):
        raise ProjectError("a budget is of one key, one customer, or of the project")
    if (
        table is not None
        and connection.execute(select(table.c.id).where(table.c.id == scope_id)).first() is None
    ):
        raise ProjectError(f"there is no {scope} {scope_id!r}", try_=f"`modelyard {scope}s list`")
