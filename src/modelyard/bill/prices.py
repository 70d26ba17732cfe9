"""Prices of the project file become versions in the ledger; a wrong version is set right by another."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from ..errors import ProjectError
from ..records import audit
from ..records.digest import digest
from ..records.tables.business import meter, plan_item, plan_version, price_version
from ..records.tables.business import rerate as rerated
from . import contracts
from .money import plain
from .plans import TOKENS, PlanVersion, current, get, replacements, resolve, versions
from .rates import PER, Rates
from .settings import Plan, Prices
from .spent import recount

__all__ = ["PlanVersion", "Rates", "current", "get", "publish", "rates_of", "rerate", "versions"]


def publish(connection: Connection, prices: Prices, at_us: int) -> dict[str, PlanVersion]:
    """Make the file's prices what is charged by from now on; returns each plan's current version.

    The same content is the same version; a changed plan gets its next one, and every open contract with that
    plan is under it from `at_us` on. Raises ProjectError for a plan whose currency changed.
    """
    _ensure_meter(connection)
    return {
        name: _publish(connection, prices.currency, name, plan, at_us) for name, plan in prices.plans.items()
    }


def publish_first(connection: Connection, prices: Prices | None, plan: str | None, at_us: int) -> None:
    """Publish the file's prices if `plan` is in them and was never published: who needs a version has one."""
    if prices is not None and plan in prices.plans and not versions(connection, plan):
        publish(connection, prices, at_us)


def differs(connection: Connection, prices: Prices) -> list[str]:
    """The plans of the file that are not what is charged by: changed, or never published."""
    found = []
    for name, plan in prices.plans.items():
        known = versions(connection, name)
        if not known or current(connection, name).digest != _content(prices.currency, name, plan)[0]:
            found.append(name)
    return found


def rates_of(connection: Connection, contract_id: str, at_us: int) -> Rates:
    """What tokens cost under a contract at a moment. Raises ProjectError when it is not in force then."""
    term = contracts.load(connection, contract_id, at_us).term_at(at_us)
    if term is None:
        raise ProjectError(f"the contract {contract_id} is not in force", try_="`modelyard customers list`")
    return term.version.rates


def rerate(connection: Connection, wrong_id: str, right_id: str, reason: str, at_us: int) -> int:
    """Charge all events and months of a wrong version by another of the same plan, past ones too.

    What budgets counted by the wrong prices is counted again, so that a key blocked by a typo is free at
    once; returns how many of their days and months that changed. Asking for the same again changes nothing.
    Raises ProjectError when `wrong_id` is set right by another version already, or when the chain of versions
    would come back to itself.
    """
    if not reason.strip():
        raise ProjectError("a re-rate needs a reason", try_="--reason TEXT")
    wrong, right = get(connection, wrong_id), get(connection, right_id)
    if (wrong.plan, wrong.currency) != (right.plan, right.currency):
        raise ProjectError(
            f"{wrong_id} and {right_id} are not versions of one plan", try_="`modelyard prices show`"
        )
    replaced = replacements(connection)
    if replaced.get(wrong_id) == right_id:
        return 0
    if wrong_id in replaced:
        raise ProjectError(
            f"{wrong_id} is charged by {replaced[wrong_id]} already",
            try_=f"re-rate {resolve(wrong_id, replaced)} instead",
        )
    if resolve(right_id, replaced) == wrong_id:
        raise ProjectError(
            f"{right_id} is itself charged by {wrong_id}",
            try_="publish the right prices, then re-rate to them",
        )
    connection.execute(
        insert(rerated).values(wrong_id=wrong_id, right_id=right_id, at_us=at_us, reason=reason)
    )
    # The reason is free text and may name a person: the log holds its digest, the table its words.
    audit.append(
        connection, "prices.rerated", wrong_id, {"right": right_id, "reason": digest("reason", reason)}
    )
    return recount(
        connection, [id for id in versions(connection, wrong.plan) if resolve(id, replaced) == wrong_id]
    )


def _publish(connection: Connection, currency: str, name: str, plan: Plan, at_us: int) -> PlanVersion:
    content, items = _content(currency, name, plan)
    known = versions(connection, name)
    if known:
        now = current(connection, name)
        if now.digest == content:
            return now
        if now.currency != currency:
            raise ProjectError(
                f"the plan {name!r} is in {now.currency} and cannot become one in {currency}",
                where="prices.currency",
                try_="give the plan another name",
            )
    seq = len(known) + 1
    id = f"{name}@{seq}"
    connection.execute(
        insert(plan_version).values(
            id=id,
            plan=name,
            currency=currency,
            included_tokens=plan.included_tokens,
            published_us=at_us,
            digest=content,
            seq=seq,
        )
    )
    for position, item in enumerate(items):
        connection.execute(
            insert(plan_item).values(
                plan_version_id=id,
                position=position,
                price_version_id=_price(connection, item),
                rollover_periods=0,
                overage="allow",
            )
        )
    audit.append(connection, "prices.published", id, {"digest": content})
    if known:
        _follow(connection, name, id, at_us)
    return get(connection, id)


def _content(currency: str, name: str, plan: Plan) -> tuple[str, list[dict[str, str | int | None]]]:
    """The digest of what a plan says, and its prices: flat, input, cached, output."""
    cached = plan.per_million_input if plan.per_million_cached is None else plan.per_million_cached
    rates = (
        (None, plan.monthly),
        ("input_tokens", plan.per_million_input),
        ("cached_tokens", cached),
        ("output_tokens", plan.per_million_output),
    )
    items: list[dict[str, str | int | None]] = [
        {
            "quantity": quantity,
            "kind": "unit" if quantity else "flat",
            "currency": currency,
            "rate": plain(rate),
            "per": PER if quantity else 1,
            "term": "arrears" if quantity else "advance",
        }
        for quantity, rate in rates
    ]
    whole = {"plan": name, "included_tokens": plan.included_tokens, "items": items}
    return digest("plan", whole), items


def _price(connection: Connection, item: dict[str, str | int | None]) -> str:
    content = digest("price", item)
    id = f"price-{content[:24]}"
    if (
        connection.execute(select(price_version.c.id).where(price_version.c.digest == content)).first()
        is None
    ):
        connection.execute(insert(price_version).values(id=id, digest=content, **item))
    return id


def _follow(connection: Connection, plan: str, version: str, at_us: int) -> None:
    """Put every open contract with the plan under its new version."""
    for id, last in contracts.last_versions(connection, at_us).items():
        if last.rpartition("@")[0] == plan:
            contracts.change(connection, id, version, at_us)


def _ensure_meter(connection: Connection) -> None:
    if connection.execute(select(meter.c.code).where(meter.c.code == TOKENS)).first() is None:
        connection.execute(
            insert(meter).values(code=TOKENS, unit="token", aggregation="sum", quantity="tokens")
        )
