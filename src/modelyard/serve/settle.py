"""Settling, releasing, extending and expiring holds: a hold ends once, and its budgets with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from ..bill import TOKENS
from ..bill.rates import Rates, nano
from ..errors import Denied, RecordError
from . import statements as sql
from .asks import Settled, Used


def settle(
    connection: Connection,
    request_id: str,
    used: Used,
    at_us: int,
    rates: Callable[[Connection, str], Rates],
) -> Settled:
    """Write the event of a request, end its hold and move its budgets; a second time nothing.

    Raises RecordError for an unknown request and for more tokens than were reserved, Denied where the
    lease had run out and a hard budget has no room any more: then it stays among the unreconciled.
    """
    row = sql.HOLD.first(connection, {"id": request_id})
    if row is None:
        raise RecordError(f"nothing was reserved for request {request_id}", try_="this is a fault of ours")
    cost = rates(connection, row.plan_version_id)
    if row.state == "settled":
        return _before(connection, row, cost)
    if used.input_tokens > row.input_tokens or used.output_tokens > row.output_tokens:
        raise RecordError(
            f"request {request_id} used {used.input_tokens} + {used.output_tokens} tokens, reserved were "
            f"{row.input_tokens} + {row.output_tokens}",
            try_="this is a fault of ours",
        )
    exact = cost.list_price(used.input_tokens, used.cached_tokens, used.output_tokens)
    amounts = {"money": nano(exact), "tokens": used.input_tokens + used.output_tokens}
    parts = sql.PARTS.all(connection, {"id": request_id})
    if _counted_elsewhere(connection, row):
        release(connection, request_id, "counted elsewhere")
        return Settled(request_id, row.source, row.event_id, 0, first=False)
    if row.state == "held":
        _move(connection, parts, amounts)
    else:
        _pay_late(connection, parts, amounts)
    sql.END.run(connection, {"id": request_id, "to": "settled"})
    sql.INSERT_USAGE_EVENT.run(connection, _event(row, used, at_us))
    sql.INSERT_REQUEST_TIME.run(connection, _times(row, used, at_us))
    if row.state != "held" or row.event_id != request_id:
        # What was at risk is counted now: this request, or an earlier try of the same one.
        sql.RECONCILE.run(connection, {"of": row.source, "event": row.event_id, "mac": row.body_mac})
    return Settled(request_id, row.source, row.event_id, amounts["money"], first=True)


def release(connection: Connection, request_id: str, why: str) -> None:
    """Free a hold of which nothing was used; nothing happens when it has ended already."""
    parts = sql.PARTS.all(connection, {"id": request_id})
    if sql.FREE.run(connection, {"id": request_id, "because": why}):
        _move(connection, parts, None)


def extend(connection: Connection, request_ids: Sequence[str], lease_us: int) -> int:
    """Renew leases; returns how many of the holds still stand."""
    return sum(sql.EXTEND.run(connection, {"id": id, "until": lease_us}) for id in request_ids)


def reap(connection: Connection, at_us: int, lease_us: int) -> int:
    """Expire holds whose lease is over, at most REAP_MOST of them; returns how many.

    A lease longer than any that could be given now comes from before the clock was set back: cut short.
    """
    sql.CUT.run(connection, {"until": lease_us})
    over = sql.OVER.all(connection, {"at": at_us})
    for row in over:
        sql.END.run(connection, {"id": row.request_id, "to": "expired"})
        _move(connection, sql.PARTS.all(connection, {"id": row.request_id}), None)
        sql.INSERT_UNRECONCILED.run(
            connection,
            {
                "request_id": row.request_id,
                "source": row.source,
                "event_id": row.event_id,
                "at_us": at_us,
                "amount": row.amount,
                "why": "the lease ran out before the request was settled",
            },
        )
    return len(over)


def _counted_elsewhere(connection: Connection, row: Any) -> bool:
    """Whether the same logical request is counted by a retry, or by an event that was imported meanwhile."""
    if row.event_id == row.request_id:
        return False
    of = {"of": row.source, "event": row.event_id}
    if sql.EVENT.first(connection, of) is not None:
        return True
    return row.state != "held" and sql.OTHER.first(connection, of) is not None


def _before(connection: Connection, row: Any, cost: Rates) -> Settled:
    event = sql.EVENT.first(connection, {"of": row.source, "event": row.event_id})
    exact = cost.list_price(event.input_tokens, event.cached_tokens, event.output_tokens)
    return Settled(row.request_id, row.source, row.event_id, nano(exact), first=False)


def _move(connection: Connection, parts: Sequence[Any], amounts: Mapping[str, int] | None) -> None:
    """Free what was held in each window, and count what was spent."""
    for part in parts:
        given = {"of": part.budget_id, "from_us": part.start_us, "freed": part.amount}
        sql.MOVE.run(connection, {**given, "paid": amounts[part.unit] if amounts else 0})


def _pay_late(connection: Connection, parts: Sequence[Any], amounts: Mapping[str, int]) -> None:
    """Count what was spent after the hold had been freed, if the hard budgets still have room."""
    for part in parts:
        given = {"of": part.budget_id, "from_us": part.start_us, "paid": amounts[part.unit]}
        statement = sql.PAY
        if part.hard and part.ended_us is None:
            statement, given["most"] = sql.PAY_IF_IT_FITS, part.most
        if not statement.run(connection, given):
            raise Denied(
                "the answer came after its lease, and the budget has no room for it any more",
                code="insufficient_quota",
            )


def _event(row: Any, used: Used, at_us: int) -> dict[str, Any]:
    return {
        "source": row.source,
        "event_id": row.event_id,
        "customer_id": row.customer_id,
        "key_id": row.key_id,
        "contract_id": row.contract_id,
        "meter": TOKENS,
        "occurred_us": at_us if used.occurred_us is None else used.occurred_us,
        "recorded_us": at_us,
        "input_tokens": used.input_tokens,
        "cached_tokens": used.cached_tokens,
        "output_tokens": used.output_tokens,
        "duration_us": used.duration_us,
        "quantity": 0,
        "plan_version_id": row.plan_version_id,
        "release_id": used.release_id,
        "finish": used.finish,
        "kind": "usage",
        "refers_to": None,
        "body_mac": row.body_mac,
    }


def _times(row: Any, used: Used, at_us: int) -> dict[str, Any]:
    return {
        "request_id": row.request_id,
        "at_us": at_us,
        "status": used.status,
        "release_id": used.release_id,
        "input_tokens": used.input_tokens,
        "output_tokens": used.output_tokens,
        "queue_us": used.queue_us,
        "prefill_us": used.prefill_us,
        "decode_us": used.decode_us,
        "database_us": used.database_us,
        "client_us": used.client_us,
    }
