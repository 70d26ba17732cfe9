"""`backup` and `restore`: a copy of the yard that can stand in its place."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from ..records import backup as copies
from .place import Place
from .table import size
from .voice import Voice, translate, verb


@click.command()
@click.argument("to", type=click.Path(path_type=Path))
@verb("backup")
def backup(voice: Voice, folder: Path, to: Path) -> None:
    """Copy the yard and the project file into the folder TO, while the service runs on.

    Documents and pairs are not in it: what was made of them is.
    """
    place = Place.at(folder)
    made = copies.backup(place.file, place.yard.root, to.absolute())
    voice.done(
        {**asdict(made), "folder": str(to.absolute())},
        lambda: translate(
            "backed up: the ledger and {n} contents, {bytes}, in {folder}",
            n=made.contents,
            bytes=size(made.bytes),
            folder=to,
        ),
    )


@click.command()
@click.argument("start", metavar="FROM", type=click.Path(path_type=Path))
@verb("restore")
def restore(voice: Voice, folder: Path, start: Path) -> None:
    """Make a project of the backup FROM in this folder, or in --project; it must be empty."""
    made = copies.restore(start.absolute(), folder)
    voice.done(
        {**asdict(made), "folder": str(folder)},
        lambda: translate(
            "restored as of {made}: the ledger and {n} contents, {bytes}",
            made=made.made,
            n=made.contents,
            bytes=size(made.bytes),
        ),
    )
