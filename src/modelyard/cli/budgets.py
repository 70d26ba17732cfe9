"""`budgets set`, `list` and `end`: how much a key, a customer or the whole project may use."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import click

from ..bill.money import digits, exact
from ..bill.rates import NANO, exactly
from ..errors import ProjectError
from ..records.clock import now_us, written
from ..serve import budgets as ledger_budgets
from ..serve.budgets import Budget
from .place import Place
from .table import table
from .voice import Voice, translate, verb

SPANS = {"day": "a day", "month": "a month", "ever": "ever"}


@click.group()
def budgets() -> None:
    """Set, list and end budgets of keys, customers and the project."""


@budgets.command("set")
@click.option("--customer", help="Of this customer; of the whole project without --customer and --key.")
@click.option("--key", help="Of this key.")
@click.option("--money", help="List price, such as 50 or 0.25.")
@click.option("--currency", help="Of --money; the project file's when absent.")
@click.option("--tokens", type=click.IntRange(0, ledger_budgets.LARGEST), help="Read and written together.")
@click.option("--per", default="month", show_default=True, type=click.Choice(list(SPANS)))
@click.option("--soft", is_flag=True, help="Only warn.")
@click.option("--alert", "alerts", multiple=True, type=click.IntRange(1, 1000), help="Percent; repeatable.")
@verb("budgets set")
def set_(
    voice: Voice,
    folder: Path,
    customer: str | None,
    key: str | None,
    money: str | None,
    currency: str | None,
    tokens: int | None,
    per: str,
    soft: bool,
    alerts: tuple[int, ...],
) -> None:
    """Set a budget, or change it; what it has counted stays.

    A hard one refuses what does not fit before it runs. It counts requests from now on.
    """
    if customer is not None and key is not None:
        raise ProjectError("a budget is of a key or of a customer", try_="set two budgets")
    if (money is None) == (tokens is None):
        raise ProjectError("a budget is of money or of tokens", try_="--money 50, or --tokens 1000000")
    place = Place.at(folder)
    if money is not None and currency is None:
        prices = place.project.prices
        if prices is None:
            raise ProjectError("nobody says which money", try_="--currency USD")
        currency = prices.currency
    scope = "key" if key else "customer" if customer else "project"
    with place.yard.ledger.write() as connection:
        found = ledger_budgets.set_(
            connection,
            scope,
            key or customer or "",
            per,
            "tokens" if money is None else "money",
            "" if money is None else currency or "",
            _amount(money, currency or "") if money is not None else tokens or 0,
            not soft,
            now_us(),
            sorted(set(alerts)) or ledger_budgets.ALERTS,
        )
    voice.done(_object(found), lambda: table(_HEAD, [_row(found)]))


@budgets.command("list")
@click.option("--ended", is_flag=True, help="The ended ones too.")
@verb("budgets list")
def list_(voice: Voice, folder: Path, ended: bool) -> None:
    """List budgets with what is spent and held of each in its present day or month."""
    with Place.at(folder).yard.ledger.read() as connection:
        found = ledger_budgets.listed(connection, now_us(), ended=ended)
    voice.done(
        {"budgets": [_object(budget) for budget in found]},
        lambda: table(_HEAD, [_row(budget) for budget in found]) if found else translate("no budgets"),
    )


@budgets.command("end")
@click.argument("id")
@verb("budgets end")
def end(voice: Voice, folder: Path, id: str) -> None:
    """End the budget ID at once."""
    with Place.at(folder).yard.ledger.write() as connection:
        found = ledger_budgets.end(connection, id, now_us())
    voice.done(_object(found), translate("{id} is ended", id=found.id))


_HEAD = ["budget", "of", "per", "most", "spent", "reserved", "kind", "starts anew"]


def _amount(money: str, currency: str) -> int:
    """Nano-units of an amount that somebody typed; it must be exactly that many."""
    digits(currency)
    try:
        nano = Decimal(money) * NANO
    except InvalidOperation:
        nano = Decimal("NaN")
    if not nano.is_finite() or nano < 0 or nano != nano.to_integral_value():
        raise ProjectError(
            f"{money!r} is no amount of money", where="--money", try_="such as 50 or 0.25, up to 9 decimals"
        )
    return int(nano)


def _shown(budget: Budget, value: int) -> str:
    return f"{value:,} tokens" if budget.unit == "tokens" else f"{exact(exactly(value))} {budget.currency}"


def _row(budget: Budget) -> list[str]:
    return [
        budget.id,
        f"{budget.scope} {budget.scope_id}".rstrip(),
        translate(SPANS[budget.span]),
        _shown(budget, budget.most),
        _shown(budget, budget.spent),
        _shown(budget, budget.held),
        translate("ended") if budget.ended_us else translate("hard" if budget.hard else "soft"),
        "-" if budget.resets_us is None else written(budget.resets_us),
    ]


def _object(budget: Budget) -> dict[str, Any]:
    def value(of: int) -> str | int:
        return of if budget.unit == "tokens" else exact(exactly(of))

    return {
        "id": budget.id,
        "scope": budget.scope,
        "of": budget.scope_id,
        "per": budget.span,
        "unit": budget.unit,
        "currency": budget.currency or None,
        "most": value(budget.most),
        "spent": value(budget.spent),
        "held": value(budget.held),
        "hard": budget.hard,
        "alerts": list(budget.alerts),
        "created": written(budget.created_us),
        "ended": None if budget.ended_us is None else written(budget.ended_us),
        "resets": None if budget.resets_us is None else written(budget.resets_us),
    }
