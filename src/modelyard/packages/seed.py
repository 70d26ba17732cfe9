"""A backup that holds one release and its signature: no key, no customer, no usage, no other record."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from ..errors import ProjectError
from ..records import backup
from ..records.digest import file_sha256
from ..records.shapes import Record
from ..records.store import Store
from ..records.yard import Yard
from ..signing import signatures

RELEASE = "release.choose"


def seed(yard: Yard, release: Record, project_file: Path, to: Path) -> None:
    """Write it into the empty folder `to`; `modelyard restore` makes a project of it."""
    with tempfile.TemporaryDirectory(dir=to.parent) as place:
        alone = Yard(Path(place) / "yard")
        for record in (release, *signatures(yard, release.id)):
            take(record, yard, alone)
        alone.ledger.close()
        backup.backup(project_file, alone.root, to)


def add(start: Path, yard: Yard) -> Record:
    """The release of a seed as a record of `yard`; nothing is done where it is one already.

    Raises ProjectError where the folder holds no release, RecordError for a damaged one.
    """
    if not (start / "yard.db").is_file():
        raise ProjectError(
            "this folder holds no release", where=str(start), try_="what `modelyard package` made"
        )
    with tempfile.TemporaryDirectory(dir=yard.root) as place:
        # A ledger that is opened is written to, and nobody may write into an image.
        shutil.copyfile(start / "yard.db", Path(place) / "yard.db")
        other = Yard(Path(place))
        other.store = Store(start)
        try:
            return _taken(start, other, yard)
        finally:
            other.ledger.close()


def _taken(start: Path, other: Yard, yard: Yard) -> Record:
    found = other.find(step=RELEASE)
    if len(found) != 1:
        raise ProjectError(
            f"this folder holds {len(found)} releases", where=str(start), try_="what `modelyard package` made"
        )
    for record in (found[0], *signatures(other, found[0].id)):
        if not yard.find(id=record.id):
            take(record, other, yard)
    return found[0]


def take(record: Record, yard: Yard, into: Yard) -> None:
    """A record and its files from one yard into another; of its inputs only a release goes along."""
    for name, entry in record.files.items():
        place = into.store.path(entry.sha256)
        if not place.is_file() or file_sha256(place) != entry.sha256:
            place.parent.mkdir(parents=True, exist_ok=True)
            part = place.with_suffix(".part")
            shutil.copyfile(yard.store.check(entry.sha256, name), part)
            part.chmod(0o444)
            part.replace(place)
    kept = {role: ids for role, ids in record.inputs.items() if role == "release"}
    into.ledger.put(replace(record, inputs=kept))
