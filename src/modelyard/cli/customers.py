"""`customers add` and `list`: who is billed, and by which plan."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ..bill import contracts
from ..bill import customers as ledger_customers
from ..bill.prices import publish_first
from ..errors import ProjectError
from ..records.clock import now_us
from .invoice import moment
from .place import Place
from .table import table
from .voice import Voice, translate, verb


@click.group()
def customers() -> None:
    """Add a customer, or list them with their plans."""


@customers.command("add")
@click.argument("id")
@click.option("--plan", help="The plan to start with.")
@click.option("--since", help="When the plan began, for use to import (ISO 8601); now when absent.")
@click.option("--currency", help="What the customer pays in; the project file's when absent.")
@click.option("--legal-name", help="As it stands on invoices; the id when absent.")
@click.option("--timezone", default="UTC", show_default=True, help="Whose calendar months are billed.")
@click.option("--country", help="Two letters (ISO 3166).")
@click.option("--tax-id", help="Such as a VAT number.")
@click.option("--e-invoice-address", help="Where electronic invoices go.")
@verb("customers add")
def add(
    voice: Voice,
    folder: Path,
    id: str,
    plan: str | None,
    since: str | None,
    currency: str | None,
    timezone: str,
    **told: str | None,
) -> None:
    """Add the customer ID, such as acme; with --plan its contract starts now."""
    place = Place.at(folder)
    prices = place.project.prices
    currency = currency or (prices.currency if prices else None)
    if currency is None:
        raise ProjectError("nobody says what the customer pays in", try_="--currency, such as --currency USD")
    at_us, contract = now_us(), None
    from_us = moment(since) or at_us
    if since is not None and (plan is None or not 0 <= from_us <= at_us):
        raise ProjectError("--since is when a plan began, in the past", try_="--plan NAME --since 2026-11-01")
    with place.yard.ledger.write() as connection:
        publish_first(connection, prices, plan, at_us)
        new = ledger_customers.add(connection, id, currency, at_us, timezone=timezone, **told)
        if plan is not None:
            contract = contracts.start(connection, id, plan, from_us)
    voice.done(
        {**asdict(new), "contract": contract},
        translate("customer {id} added, contract {contract} on {plan}", id=id, contract=contract, plan=plan)
        if contract
        else translate("customer {id} added; it has no plan yet", id=id),
    )


@customers.command("list")
@verb("customers list")
def list_(voice: Voice, folder: Path) -> None:
    """List customers with the version of the plan that each is charged by now."""
    place = Place.at(folder)
    at_us = now_us()
    told: list[dict[str, Any]] = []
    with place.yard.ledger.read() as connection:
        for one in ledger_customers.listed(connection):
            contract = contracts.open_contract(connection, one.id, at_us)
            term = contracts.load(connection, contract, at_us).term_at(at_us) if contract else None
            told.append(
                {**asdict(one), "contract": contract, "price_version": term.version.id if term else None}
            )
    rows = [
        [one["id"], one["legal_name"], one["currency"], one["timezone"], one["price_version"] or "-"]
        for one in told
    ]
    voice.done(
        {"customers": told},
        lambda: (
            table(["customer", "legal name", "currency", "time zone", "charged by"], rows)
            if rows
            else translate("no customers yet")
        ),
    )
