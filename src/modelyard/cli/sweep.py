"""`sweep`: drop what nothing needs any more."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from ..flow import Stale, Walk, line
from ..records.sweep import Swept, ancestors, damaged
from ..records.sweep import sweep as drop
from ..records.work import whole_yard
from ..release.settings import CHOOSE, SIGN
from .place import Place
from .table import size
from .voice import Voice, translate, verb


@click.command()
@click.option("--dry", is_flag=True, help="Only tell what would go.")
@click.option("--damaged", "only_damaged", is_flag=True, help="Drop records with missing or changed files.")
@verb("sweep")
def sweep(voice: Voice, folder: Path, dry: bool, only_damaged: bool) -> None:
    """Drop records that neither this project nor a release needs, and files that no record names."""
    place = Place.at(folder)
    yard = place.yard
    with whole_yard(yard.root, alone=True):
        swept = _sweep(place, dry=dry, only_damaged=only_damaged)
    result = {
        "dry": dry,
        "records": list(swept.records),
        "contents": swept.contents,
        "work_folders": swept.work_folders,
        "bytes": swept.bytes,
    }
    text = translate(
        "would drop {records} records, {contents} contents, {work} work folders: {bytes}"
        if dry
        else "dropped {records} records, {contents} contents, {work} work folders: {bytes}",
        records=len(swept.records),
        contents=swept.contents,
        work=swept.work_folders,
        bytes=size(swept.bytes),
    )
    voice.done(result, text)


def _sweep(place: Place, *, dry: bool, only_damaged: bool) -> Swept:
    """Raises SourceError for a missing source: what the project needs cannot be told then."""
    yard = place.yard
    every = yard.find()
    if only_damaged:
        keep = {record.id for record in every} - damaged(yard.ledger, yard.store)
    else:
        walk = Walk(yard, threads=place.threads, may_run=lambda node: False)
        with contextlib.suppress(Stale):
            walk.follow(line(place.project, place.folder, yard))
        needed = [done.record for done in walk.done if done.record]
        needed += [record for record in every if record.step in (CHOOSE.name, SIGN.name)]
        keep = ancestors(needed, every)
    return drop(yard.root, yard.ledger, yard.store, keep, dry=dry)
