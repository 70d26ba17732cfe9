"""`invoice preview`: what a month's invoice would say now."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ..bill import invoice as ledger_invoice
from ..bill.period import to_us
from ..errors import ProjectError
from .place import Place
from .table import table
from .voice import Voice, translate, verb

# What an item of an invoice is called on the screen; the line's own text is in the invoice's language.
_NAMES = {
    "monthly": "monthly fee",
    "input.included": "input tokens, included",
    "cached.included": "cached tokens, included",
    "output.included": "output tokens, included",
    "input": "input tokens",
    "cached": "cached tokens",
    "output": "output tokens",
}


@click.group()
def invoice() -> None:
    """Look at an invoice before it is one."""


@invoice.command("preview")
@click.option("--customer", required=True, help="Whose invoice.")
@click.option("--period", help="The month, such as 2026-11; the present one when absent.")
@click.option("--cutoff", help="As it was known at this time (ISO 8601); now when absent.")
@verb("invoice preview")
def preview(voice: Voice, folder: Path, customer: str, period: str | None, cutoff: str | None) -> None:
    """Show what the invoice of a month would say: each line with its requests and the release behind it."""
    place = Place.at(folder)
    told = ledger_invoice.preview(place.yard.ledger.read, customer, period, moment(cutoff))
    voice.done(told, lambda: _page(told))


def moment(text: str | None) -> int | None:
    """A time of the command line as microseconds; one without a zone is UTC. Raises ProjectError."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ProjectError(f"{text!r} is no time", try_="ISO 8601, such as 2026-11-30T23:59:59Z") from None
    return to_us(found if found.tzinfo else found.replace(tzinfo=UTC))


def _page(told: dict[str, Any]) -> str:
    items = [_NAMES[line["item"]] for line in told["lines"]]
    names = [translate(item) for item in items]
    rows = [
        [
            name,
            line["price_version"],
            f"{line['quantity']:,}",
            line["unit_price"],
            line["list"],
            line["charged"],
            str(line["events"]) if line["events"] else "",
            ", ".join(part["release"] or "-" for part in line["releases"]),
        ]
        for name, line in zip(names, told["lines"], strict=True)
    ]
    head = ["line", "version", "quantity", "unit price", "list", "charged", "requests", "release"]
    parts = [table(head, rows)] if rows else [translate("nothing was used or due in this month")]
    parts.append(
        translate(
            "{customer}, {period}: {total} {currency} before tax, requests: {requests}, as of {cutoff}",
            **{
                name: told[name] for name in ("customer", "period", "total", "currency", "requests", "cutoff")
            },
        )
    )
    return "\n\n".join(parts)
