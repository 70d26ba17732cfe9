"""A ledger made by an older release: backed up beside itself, then brought to this release's shape."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, update

from .. import __version__
from ..errors import RecordError
from .tables import SCHEMA_VERSION, metadata, yard


def upgrade(connection: Connection, version: int, path: Path) -> None:
    """Bring the ledger at `path` from schema `version` to SCHEMA_VERSION within the open transaction.

    Raises RecordError for a ledger of a newer release.
    """
    if version > SCHEMA_VERSION:
        raise RecordError(
            f"this yard has schema {version}; Modelyard {__version__} reads up to schema {SCHEMA_VERSION}",
            where=str(path),
            try_="the release of Modelyard that made it, or a newer one",
        )
    back_up(path, path.with_name(f"{path.stem}.schema-{version}.db"))
    metadata.create_all(connection)  # from 1 to 2 tables were only added
    connection.execute(update(yard).values(schema_version=SCHEMA_VERSION, made_by=__version__))


def back_up(path: Path, to: Path) -> None:
    """Copy the database at `path` as its last commit left it, whoever else reads or writes it."""
    part = to.with_name(to.name + ".part")
    part.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(part)) as target:
        source.backup(target)
    part.replace(to)
