"""Imported events that could not be counted: an operator admits or rejects each, with a reason."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Row, insert, select, update

from ..errors import ProjectError
from ..records import audit
from ..records.digest import digest
from ..records.tables.service import event_quarantine, usage_event
from .cloudevents import Unreadable, parse
from .intake import contracts_of, row_of


@dataclass(frozen=True, slots=True)
class Aside:
    """An event that was set aside, and what was decided."""

    seq: int
    source: str
    event_id: str
    body: str
    why: str
    at_us: int
    decided_us: int | None
    decision: str | None
    reason: str | None


def listed(connection: Connection, *, decided: bool = False, most: int = 1_000) -> list[Aside]:
    """The first `most` events that wait for a decision, or those that have one."""
    column = event_quarantine.c.decision
    query = select(event_quarantine).where(column.is_not(None) if decided else column.is_(None))
    rows = connection.execute(query.order_by(event_quarantine.c.seq).limit(most))
    return [Aside(**row) for row in rows.mappings()]


def admit(connection: Connection, seq: int, reason: str, at_us: int) -> None:
    """Count an event after all, whatever its age or size.

    Raises ProjectError when it is decided already, cannot be read, or has no customer or contract still.
    """
    row = _waiting(connection, seq, reason)
    event = parse(row.body.encode())
    if isinstance(event, Unreadable):
        raise ProjectError(
            f"event {seq} can never be counted: {event.why}", try_=f"modelyard usage quarantine reject {seq}"
        )
    found = contracts_of(connection, event.customer_id, at_us)
    if found is None:
        raise ProjectError(
            f"the customer {event.customer_id!r} is not known", try_="`modelyard customers add`, then again"
        )
    for contract in found:
        if values := row_of(event, contract, at_us):
            break
    else:
        raise ProjectError(f"the customer {event.customer_id!r} had no contract when event {seq} occurred")
    taken = select(usage_event.c.seq).where(
        usage_event.c.source == event.source, usage_event.c.event_id == event.event_id
    )
    if connection.execute(taken).first() is not None:
        raise ProjectError(
            f"an event of the id {event.event_id!r} was counted meanwhile",
            try_=f"modelyard usage quarantine reject {seq}",
        )
    connection.execute(insert(usage_event).values(**values))
    _decide(connection, row, "admitted", reason, at_us)


def reject(connection: Connection, seq: int, reason: str, at_us: int) -> None:
    """Never count an event. Raises ProjectError when it is decided already."""
    _decide(connection, _waiting(connection, seq, reason), "rejected", reason, at_us)


def _waiting(connection: Connection, seq: int, reason: str) -> Row[tuple[object, ...]]:
    if not reason.strip():
        raise ProjectError("a decision needs a reason", try_="--reason TEXT")
    row = connection.execute(select(event_quarantine).where(event_quarantine.c.seq == seq)).first()
    if row is None:
        raise ProjectError(f"there is no event {seq} set aside", try_="`modelyard usage quarantine list`")
    if row.decision is not None:
        raise ProjectError(f"event {seq} is {row.decision} already")
    return row


def _decide(
    connection: Connection, row: Row[tuple[object, ...]], decision: str, reason: str, at_us: int
) -> None:
    connection.execute(
        update(event_quarantine)
        .where(event_quarantine.c.seq == row.seq)
        .values(decided_us=at_us, decision=decision, reason=reason)
    )
    # Ids and reasons are texts of others: the log holds their digests, the table their words.
    body = {
        "event": digest("event", [row.source, row.event_id, row.body]),
        "reason": digest("reason", reason),
    }
    audit.append(connection, f"usage.{decision}", str(row.seq), body)
