"""Versions of a plan as they stand in the ledger: immutable, the newest is charged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import Connection, Row, select

from ..errors import ProjectError, RecordError
from ..records.tables.business import plan_item, plan_version, price_version
from ..records.tables.business import rerate as rerated
from .rates import Rates

TOKENS = "tokens"
"""The meter that counts tokens; every usage event of the gateway is on it."""


@dataclass(frozen=True, slots=True)
class PlanVersion:
    """One published version of a plan. Money is in units of the currency."""

    id: str
    plan: str
    seq: int
    currency: str
    monthly: Decimal
    included_tokens: int
    rates: Rates
    published_us: int
    digest: str


def versions(connection: Connection, plan: str | None = None) -> dict[str, PlanVersion]:
    """Every version by its id, of one plan or of all, in the order of plan and number."""
    query = select(plan_version).order_by(plan_version.c.plan, plan_version.c.seq)
    if plan is not None:
        query = query.where(plan_version.c.plan == plan)
    rows = connection.execute(query).all()
    prices: dict[str, dict[str, Decimal]] = {row.id: {} for row in rows}
    items = (
        select(plan_item.c.plan_version_id, price_version.c.quantity, price_version.c.rate)
        .join(price_version, price_version.c.id == plan_item.c.price_version_id)
        .join(plan_version, plan_version.c.id == plan_item.c.plan_version_id)
    )
    if plan is not None:
        items = items.where(plan_version.c.plan == plan)
    for id, quantity, rate in connection.execute(items):
        prices[id][quantity or "monthly"] = Decimal(rate)
    return {row.id: _version(row, prices[row.id]) for row in rows}


def get(connection: Connection, id: str) -> PlanVersion:
    """The version `id`, as it was published. Raises ProjectError when there is none."""
    found = versions(connection, id.rpartition("@")[0]).get(id)
    if found is None:
        raise ProjectError(f"there is no version {id!r} of a plan", try_="`modelyard prices show` lists them")
    return found


def current(connection: Connection, plan: str) -> PlanVersion:
    """What a plan is charged by from now on: its newest version, or the one that was set in its place.

    Raises ProjectError when the plan was never published.
    """
    found = versions(connection, plan)
    if not found:
        raise ProjectError(
            f"the plan {plan!r} was never published", try_="`modelyard prices publish`, or another plan"
        )
    newest = list(found)[-1]
    return found[resolve(newest, replacements(connection))]


def replacements(connection: Connection, until_us: int | None = None) -> dict[str, str]:
    """Versions that were wrong, each with the one in its place, as known at `until_us`."""
    query = select(rerated.c.wrong_id, rerated.c.right_id)
    if until_us is not None:
        query = query.where(rerated.c.at_us <= until_us)
    return {row.wrong_id: row.right_id for row in connection.execute(query)}


def resolve(id: str, replaced: Mapping[str, str]) -> str:
    """The version that `id` is charged by in the end. Raises RecordError when the chain is a ring."""
    seen = {id}
    while id in replaced:
        id = replaced[id]
        if id in seen:
            raise RecordError(f"the version {id} of a plan is set in its own place", try_="restore a backup")
        seen.add(id)
    return id


def _version(row: Row[tuple[object, ...]], prices: Mapping[str, Decimal]) -> PlanVersion:
    return PlanVersion(
        row.id,
        row.plan,
        row.seq,
        row.currency,
        prices["monthly"],
        row.included_tokens,
        Rates(row.id, row.currency, prices["input_tokens"], prices["cached_tokens"], prices["output_tokens"]),
        row.published_us,
        row.digest,
    )
