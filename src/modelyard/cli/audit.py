"""`audit verify`: the log of what was made, followed from its first entry."""

from __future__ import annotations

from pathlib import Path

import click

from ..records import audit as chain
from .place import Place
from .voice import Voice, translate, verb


@click.group()
def audit() -> None:
    """Check the log of everything that was made."""


@audit.command("verify")
@verb("audit verify")
def verify(voice: Voice, folder: Path) -> None:
    """Follow the hash chain; fails at the first entry that was changed, removed or put in."""
    yard = Place.at(folder).yard
    with yard.ledger.write() as connection:
        entries = chain.verify(connection)
    voice.done({"entries": entries}, translate("the audit log holds: {n} entries, unbroken", n=entries))
