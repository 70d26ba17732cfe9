"""`prices publish`, `show` and `rerate`: what the plans cost, by version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..bill import PlanVersion, Prices
from ..bill import prices as ledger_prices
from ..bill.money import plain
from ..bill.plans import replacements, resolve, versions
from ..errors import ProjectError
from ..records.clock import now_us
from .place import Place
from .table import table
from .voice import Voice, translate, verb


@click.group()
def prices() -> None:
    """Publish what the plans cost, show it, or set a wrong version right."""


@prices.command("publish")
@verb("prices publish")
def publish(voice: Voice, folder: Path) -> None:
    """Make the project file's prices what is charged by from now on."""
    place = Place.at(folder)
    proposed = _proposed(place)
    with place.yard.ledger.write() as connection:
        known = set(versions(connection))
        now = ledger_prices.publish(connection, proposed, now_us())
    plans = {name: _object(version) for name, version in now.items()}
    new = [version.id for version in now.values() if version.id not in known]
    voice.done(
        {"plans": plans, "new": new},
        lambda: "\n\n".join(
            [
                _page(list(now.values()), {}),
                translate("published: {ids}", ids=", ".join(new))
                if new
                else translate("nothing changed; these are charged by already"),
            ]
        ),
    )


@prices.command("show")
@click.argument("plan", required=False)
@verb("prices show")
def show(voice: Voice, folder: Path, plan: str | None) -> None:
    """Show every published version, of one PLAN or of all."""
    place = Place.at(folder)
    with place.yard.ledger.read() as connection:
        found = list(versions(connection, plan).values())
        replaced = replacements(connection)
        differing = ledger_prices.differs(connection, place.project.prices) if place.project.prices else []
    if plan is not None and not found:
        raise ProjectError(f"the plan {plan!r} was never published", try_="modelyard prices publish")
    for name in differing:
        if plan in (None, name):
            voice.warn(
                translate(
                    "the file's prices of {plan} are not charged by until `modelyard prices publish`",
                    plan=name,
                )
            )
    told = [
        {**_object(one), "charged_by": resolve(one.id, replaced) if one.id in replaced else None}
        for one in found
    ]
    voice.done(
        {"versions": told, "differs": differing},
        lambda: _page(found, replaced) if found else translate("no prices are published yet"),
    )


@prices.command("rerate")
@click.argument("wrong")
@click.argument("right", required=False)
@click.option("--reason", required=True, help="Why the version was wrong.")
@verb("prices rerate")
def rerate(voice: Voice, folder: Path, wrong: str, right: str | None, reason: str) -> None:
    """Charge all that the version WRONG priced by the version RIGHT instead, past requests too.

    Without RIGHT the project file's prices are published first, if they are new, and taken: a typo is mended
    in the file and set right by this one command.
    """
    place = Place.at(folder)
    with place.yard.ledger.write() as connection:
        if right is None:
            plan = ledger_prices.get(connection, wrong).plan
            proposed = _proposed(place)
            if plan not in proposed.plans:
                raise ProjectError(
                    f"the project file has no plan {plan!r} any more", try_="name the right version as well"
                )
            right = ledger_prices.publish(connection, proposed, now_us())[plan].id
        budgets = ledger_prices.rerate(connection, wrong, right, reason, now_us())
    voice.done(
        {"wrong": wrong, "right": right, "budget_windows": budgets},
        translate("{wrong} is charged by {right} from the first request on", wrong=wrong, right=right),
    )


def _proposed(place: Place) -> Prices:
    if place.project.prices is None:
        raise ProjectError(
            "the project file has no prices",
            where=str(place.file),
            try_="a block such as `prices: {currency: USD, plans: {starter: {monthly: 29, "
            "included_tokens: 2000000, per_million_input: 0.30, per_million_output: 1.20}}}`",
        )
    return place.project.prices


def _object(version: PlanVersion) -> dict[str, Any]:
    rates = version.rates
    return {
        "id": version.id,
        "plan": version.plan,
        "currency": version.currency,
        "monthly": plain(version.monthly),
        "included_tokens": version.included_tokens,
        "per_million_input": plain(rates.input),
        "per_million_cached": plain(rates.cached),
        "per_million_output": plain(rates.output),
    }


def _page(found: list[PlanVersion], replaced: dict[str, str]) -> str:
    rows = [
        [
            one.id,
            f"{plain(one.monthly)} {one.currency}",
            f"{one.included_tokens:,}",
            plain(one.rates.input),
            plain(one.rates.cached),
            plain(one.rates.output),
            replaced.get(one.id, ""),
        ]
        for one in found
    ]
    head = ["version", "monthly", "included tokens", "per 1M input", "per 1M cached", "per 1M output"]
    if any(row[-1] for row in rows):
        return table([*head, "charged by"], rows)
    return table(head, [row[:-1] for row in rows])
