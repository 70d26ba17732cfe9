"""`keys create`, `list`, `rotate` and `revoke`: who may ask the service, and how much at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from sqlalchemy import Connection

from .. import bill
from ..bill import contracts, customers
from ..bill.prices import publish_first
from ..errors import ProjectError
from ..records.clock import now_us, written
from ..records.roles import ROLES
from ..serve import keys as ledger_keys
from .place import Place
from .table import table
from .voice import Voice, translate, verb

DAY_US = 24 * 3600 * 1_000_000
HOUR_US = 3600 * 1_000_000


@click.group()
def keys() -> None:
    """Make, list, replace and revoke keys of the service."""


@keys.command("create")
@click.option("--customer", help="Whose key; the customer is made if new. None: a key of the team.")
@click.option("--plan", help="The plan that the customer is charged by.")
@click.option("--role", default="customer", show_default=True, type=click.Choice(ROLES))
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(ledger_keys.SCOPES), help="Only this; repeatable."
)
@click.option("--expires-days", type=click.IntRange(1, 36_500), help="Days until the key is over.")
@click.option("--requests-per-minute", type=click.IntRange(1))
@click.option("--tokens-per-minute", type=click.IntRange(1))
@click.option("--concurrency", type=click.IntRange(1), help="Requests at once.")
@verb("keys create")
def create(
    voice: Voice,
    folder: Path,
    customer: str | None,
    plan: str | None,
    role: str,
    scopes: tuple[str, ...],
    expires_days: int | None,
    requests_per_minute: int | None,
    tokens_per_minute: int | None,
    concurrency: int | None,
) -> None:
    """Make a key; its secret is shown this once."""
    place = Place.at(folder)
    if customer is None and plan is not None:
        raise ProjectError("a plan is charged to a customer", try_="--customer ID")
    at_us = now_us()
    with place.yard.ledger.write() as connection:
        if customer is not None:
            _account(connection, place, customer, plan, at_us)
        made, secret = ledger_keys.create(
            connection,
            customer,
            role,
            scopes,
            at_us,
            expires_us=None if expires_days is None else at_us + expires_days * DAY_US,
            rpm=requests_per_minute,
            tpm=tokens_per_minute,
            concurrency=concurrency,
        )
    voice.done({"id": made.id, "key": secret}, lambda: _secret(made, secret))


@keys.command("list")
@click.option("--customer", help="Only this customer's.")
@verb("keys list")
def list_(voice: Voice, folder: Path, customer: str | None) -> None:
    """List keys: whose they are and what they may, never their secrets."""
    with Place.at(folder).yard.ledger.read() as connection:
        found = ledger_keys.listed(connection, customer)
    at_us = now_us()

    def text() -> str:
        if not found:
            return translate("no keys yet; next: modelyard keys create --customer ID --plan NAME")
        head = ["key", "begins with", "customer", "role", "may", "a minute", "state"]
        return table(head, [_row(key, at_us) for key in found])

    voice.done({"keys": [_object(key, at_us) for key in found]}, text)


@keys.command("rotate")
@click.argument("id")
@click.option(
    "--grace-hours",
    default=24,
    show_default=True,
    type=click.IntRange(0, 24 * 90),
    help="How long the old key still opens.",
)
@verb("keys rotate")
def rotate(voice: Voice, folder: Path, id: str, grace_hours: int) -> None:
    """Make a key in the place of ID; the old one ends after the grace."""
    with Place.at(folder).yard.ledger.write() as connection:
        made, secret = ledger_keys.rotate(connection, id, now_us(), grace_hours * HOUR_US)
        old = ledger_keys.get(connection, made.replaces or id)
    voice.done(
        {"id": made.id, "key": secret, "replaces": old.id, "old_expires": _when(old.expires_us)},
        lambda: (
            _secret(made, secret)
            + "\n"
            + translate("{id} opens until {when}", id=old.id, when=_when(old.expires_us) or "-")
        ),
    )


@keys.command("revoke")
@click.argument("id")
@verb("keys revoke")
def revoke(voice: Voice, folder: Path, id: str) -> None:
    """End the key ID at once."""
    with Place.at(folder).yard.ledger.write() as connection:
        key = ledger_keys.revoke(connection, id, now_us())
    voice.done(
        {"id": key.id, "revoked": _when(key.revoked_us)},
        translate("{id} is revoked; a running service refuses it within 2 s", id=key.id),
    )


def _account(connection: Connection, place: Place, customer: str, plan: str | None, at_us: int) -> None:
    """The customer, with a contract on the plan: each made when it is not there yet."""
    if plan is None:
        if not customers.known(connection, customer):
            try_ = "--plan NAME makes it, or `modelyard customers list`"
            raise ProjectError(f"there is no customer {customer!r}", try_=try_)
        if contracts.open_contract(connection, customer, at_us) is None:
            raise ProjectError(f"the customer {customer!r} has no plan", try_="--plan NAME")
        return
    publish_first(connection, place.project.prices, plan, at_us)
    version = bill.current(connection, plan)
    customers.ensure(connection, customer, version.currency, at_us)
    contracts.start(connection, customer, plan, at_us)


def _secret(made: ledger_keys.Key, secret: str) -> str:
    told = translate("key {id}; its secret is shown only now:", id=made.id)
    return f"{told}\n{secret}"


def _state(key: ledger_keys.Key, at_us: int) -> str:
    if key.revoked_us is not None:
        return "revoked"
    return "valid" if key.valid(at_us) else "over"


def _row(key: ledger_keys.Key, at_us: int) -> list[str]:
    limits = [
        f"{key.requests_per_minute:,} requests" if key.requests_per_minute else "",
        f"{key.tokens_per_minute:,} tokens" if key.tokens_per_minute else "",
        f"{key.concurrency} at once" if key.concurrency else "",
    ]
    state = translate(_state(key, at_us))
    if key.expires_us is not None and key.valid(at_us):
        state = translate("until {when}", when=_when(key.expires_us))
    return [
        key.id,
        key.prefix + "…",
        key.customer_id or "-",
        key.role,
        " ".join(key.scopes) or "-",
        ", ".join(limit for limit in limits if limit) or "-",
        state,
    ]


def _object(key: ledger_keys.Key, at_us: int) -> dict[str, Any]:
    return {
        "id": key.id,
        "prefix": key.prefix,
        "customer": key.customer_id,
        "role": key.role,
        "scopes": list(key.scopes),
        "state": _state(key, at_us),
        "created": written(key.created_us),
        "expires": _when(key.expires_us),
        "revoked": _when(key.revoked_us),
        "replaces": key.replaces,
        "requests_per_minute": key.requests_per_minute,
        "tokens_per_minute": key.tokens_per_minute,
        "concurrency": key.concurrency,
    }


def _when(us: int | None) -> str | None:
    return None if us is None else written(us)
