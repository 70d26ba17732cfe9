"""Reserving: the key still holds, the request is new, and every budget can bear what it may cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from ..bill.rates import Rates
from ..errors import Conflict, Denied, Duplicate, KeyRefused
from . import statements as sql
from .asks import Ask, Held
from .needs import Need, told, warned
from .windows import window
from .writer import Stands

SOON_US = 1_000_000  # when only requests under way stand in the way, asking again in a second helps


def reserve(connection: Connection, ask: Ask, at_us: int, lease_us: int) -> Held:
    """Hold what `ask` can cost at most, within the caller's transaction.

    Raises Denied, KeyRefused and Duplicate, having written nothing that stands; and Conflict, carried by
    Stands since it is written down.
    """
    event_id = ask.event_id if ask.event_id is not None else ask.request_id
    standing = sql.STANDING.first(
        connection, {"source": ask.source, "event_id": event_id, "key_id": ask.key_id}
    )
    _check_key(standing, ask, at_us)
    assert standing is not None
    _check_new(connection, standing, ask, event_id, at_us)
    if ask.cost is None:
        raise Denied(
            "there is no price for this request",
            code="unpriceable",
            try_="the owner publishes prices: modelyard prices publish",
        )
    needs = [
        Need(row, *window(row.span, "UTC" if row.scope == "project" else standing.timezone, at_us))
        for row in sql.BUDGETS.all(connection, {"key_id": ask.key_id, "customer_id": ask.customer_id})
    ]
    tokens, warnings = ask.max_output_tokens, list[str]()
    if needs:
        tokens, warnings = _hold_budgets(connection, needs, ask, ask.cost, at_us)
    amount = ask.cost.most(ask.input_tokens, tokens)
    sql.INSERT_HOLD.run(
        connection,
        {
            "request_id": ask.request_id,
            "source": ask.source,
            "event_id": event_id,
            "customer_id": ask.customer_id,
            "key_id": ask.key_id,
            "contract_id": ask.contract_id,
            "plan_version_id": ask.cost.plan_version,
            "body_mac": ask.body_mac,
            "input_tokens": ask.input_tokens,
            "output_tokens": tokens,
            "amount": amount,
            "created_us": at_us,
            "lease_us": lease_us,
            "state": "held",
            "why": None,
        },
    )
    for need in needs:
        if need.counts(ask.cost):
            amount_of = need.amount(ask.cost, ask.input_tokens, tokens)
            sql.INSERT_HOLD_BUDGET.run(
                connection,
                {
                    "request_id": ask.request_id,
                    "budget_id": need.row.id,
                    "start_us": need.start_us,
                    "amount": amount_of,
                },
            )
    return Held(ask.request_id, event_id, tokens, amount, lease_us, tuple(warnings))


def _check_key(standing: Any | None, ask: Ask, at_us: int) -> None:
    if (
        standing is None
        or standing.customer_id != ask.customer_id
        or standing.revoked_us is not None
        or (standing.expires_us is not None and standing.expires_us <= at_us)
    ):
        raise KeyRefused("the key is unknown, revoked or over", code="invalid_api_key")


def _check_new(connection: Connection, standing: Any, ask: Ask, event_id: str, at_us: int) -> None:
    """Raises Duplicate or Conflict when the id is not new."""
    before = standing.event_mac if standing.seq is not None else standing.held_mac
    if before is None:
        return
    if before == ask.body_mac:
        done = standing.seq is not None
        raise Duplicate(
            "this request is answered already" if done else "this request is under way",
            done=done,
            request_id=standing.request_id,
            try_="ask again with another Idempotency-Key" if done else "wait for its answer",
        )
    sql.INSERT_EVENT_CONFLICT.run(
        connection,
        {"source": ask.source, "event_id": event_id, "body_mac": ask.body_mac, "at_us": at_us},
    )
    raise Stands(
        Conflict("this Idempotency-Key came with another body before", try_="another key for another request")
    )


def _hold_budgets(
    connection: Connection, needs: Sequence[Need], ask: Ask, cost: Rates, at_us: int
) -> tuple[int, list[str]]:
    """Take the amounts from all budgets; returns the output tokens that they bear, and warnings."""
    for need in needs:
        if need.row.hard and not need.counts(cost):
            raise Denied(
                f"budget {need.row.id} is in {need.row.currency}, the price in {cost.currency}",
                code="unpriceable",
                try_="the owner sets the budget in the price's currency: modelyard budgets set",
            )
    connection.exec_driver_sql("SAVEPOINT budgets")
    try:
        warnings = _take(connection, needs, ask.input_tokens, ask.max_output_tokens, cost)
        output = ask.max_output_tokens
    except Denied:
        connection.exec_driver_sql("ROLLBACK TO budgets")
        output = _affordable(connection, needs, ask, cost, at_us)
        warnings = _take(connection, needs, ask.input_tokens, output, cost)
    connection.exec_driver_sql("RELEASE budgets")
    return output, warnings


def _take(
    connection: Connection, needs: Sequence[Need], input_tokens: int, output_tokens: int, cost: Rates
) -> list[str]:
    """Take from every budget, in the order of ids, so that two gateways never wait for each other.

    Returns warnings. Raises Denied where a hard one does not bear it.
    """
    warnings: list[str] = []
    for need in needs:
        if not need.counts(cost):
            warnings.append(f"budget {need.row.id} cannot count {cost.currency}")
            continue
        amount = need.amount(cost, input_tokens, output_tokens)
        given = {"of": need.row.id, "from_us": need.start_us, "amount": amount}
        statement = sql.TAKE
        if need.row.hard:
            statement, given["most"] = sql.TAKE_IF_IT_FITS, need.row.most
        after = statement.first(connection, given)
        if after is None:
            if sql.WINDOW.first(connection, given) is not None:
                raise Denied(told([need]), code="insufficient_quota")
            if need.row.hard and amount > need.row.most:
                raise Denied(told([need]), code="insufficient_quota")
            sql.INSERT_BUDGET_WINDOW.run(
                connection,
                {"budget_id": need.row.id, "start_us": need.start_us, "spent": 0, "held": amount},
            )
            total = amount
        else:
            total = after.spent + after.held
        warnings += warned(need, total - amount, total)
    return warnings


def _affordable(connection: Connection, needs: Sequence[Need], ask: Ask, cost: Rates, at_us: int) -> int:
    """Output tokens that the hard budgets still buy, were nothing else under way.

    Raises Denied where they buy none, or where the client's own limit would be lowered; with `soon`
    where only requests under way stand between.
    """
    most = ask.max_output_tokens
    least = most if ask.max_output_given else min(1, most)
    empty: list[Need] = []
    rooms: list[tuple[Need, int]] = []
    for need in needs:
        if not need.row.hard:
            continue
        found = sql.WINDOW.first(connection, {"of": need.row.id, "from_us": need.start_us})
        spent, held = (found.spent, found.held) if found else (0, 0)
        buys = need.buys(cost, ask.input_tokens, ask.max_output_tokens, need.row.most - spent)
        if buys < least:
            empty.append(need)
        most = min(most, buys)
        rooms.append((need, need.row.most - spent - held))
    if empty:
        ends = [need.end_us for need in empty]
        raise Denied(
            told(empty),
            code="insufficient_quota",
            resets_us=None if None in ends else max(end for end in ends if end is not None),
            try_="fewer tokens (max_tokens), a later time, or a higher budget: modelyard budgets set",
        )
    busy = [need for need, room in rooms if need.amount(cost, ask.input_tokens, most) > room]
    if busy:
        raise Denied(
            f"{told(busy)} while others are under way",
            code="insufficient_quota",
            resets_us=at_us + SOON_US,
            soon=True,
            try_="the same request again in a second",
        )
    return most
