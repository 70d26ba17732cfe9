"""The ledger: one row per record, run and audit entry, in SQLite beside the store."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, create_engine, delete, event, insert, select
from sqlalchemy.exc import DatabaseError, OperationalError

from .. import __version__
from ..errors import Busy, NoRoom, ProjectError, RecordError
from . import audit
from .shapes import Choice, Fact, FileEntry, Record, fact_json
from .store import Store
from .tables import SCHEMA_VERSION, fingerprint, metadata, record, record_input, yard

BUSY_S = 10  # no transaction lasts over 50 ms, so a wait this long means that something is stuck


class Ledger:
    """The tables of one yard. Every write is one short transaction."""

    def __init__(self, path: Path) -> None:
        self.path = path
        new = not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_S})
        event.listen(self._engine, "connect", _connect)
        event.listen(self._engine, "begin", _begin)
        with self.write() as connection:
            metadata.create_all(connection) if new else None
            self._check_version(connection)

    def _check_version(self, connection: Connection) -> None:
        try:
            version = connection.execute(select(yard.c.schema_version)).scalar()
        except OperationalError:  # the tables are not there: killed between creating the file and its tables
            metadata.create_all(connection)
            version = None
        if version is None:
            connection.execute(insert(yard).values(schema_version=SCHEMA_VERSION, made_by=__version__))
        elif version != SCHEMA_VERSION:
            from .upgrade import upgrade

            upgrade(connection, version, self.path)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes: all of it or nothing.

        Raises Busy when another process keeps the ledger locked, NoRoom when the disk is full.
        """
        try:
            with self._engine.begin() as connection:
                yield connection
        except DatabaseError as error:
            raise _explain(error, self.path) from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads, all of it at one moment; writers go on meanwhile."""
        try:
            with self._engine.connect().execution_options(reads=True) as connection, connection.begin():
                yield connection
        except DatabaseError as error:
            raise _explain(error, self.path) from error

    def put(self, made: Record) -> None:
        """Write the row of a record whose files are in the store, with its audit entry."""
        body = {
            "settings": dict(made.settings),
            "facts": fact_json(made.facts),
            "choices": [asdict(choice) for choice in made.choices],
            "files": {name: asdict(entry) for name, entry in made.files.items()},
            "environment": dict(made.environment),
            "provisional": made.provisional,
        }
        row = {name: getattr(made, name) for name in _COLUMNS}
        inputs = [
            {"record_id": made.id, "role": role, "position": at, "input_id": id}
            for role, ids in made.inputs.items()
            for at, id in enumerate(ids)
        ]
        with self.write() as connection:
            text = json.dumps(body, ensure_ascii=False, sort_keys=True, allow_nan=False)
            connection.execute(insert(record).values(**row, body=text))
            if inputs:
                connection.execute(insert(record_input), inputs)
            audit.append(
                connection,
                "record.made",
                made.id,
                {"step": made.step, "key": made.key, "digest": made.digest, "body": audit.seal(text)},
            )

    def newest(self, key: str, store: Store) -> Record | None:
        """The newest attempt at `key`, or None when it was never made."""
        query = select(record).where(record.c.key == key).order_by(record.c.attempt.desc()).limit(1)
        with self.write() as connection:
            row = connection.execute(query).first()
            return self._record(connection, row, store) if row else None

    def find(self, store: Store, *, step: str | None = None, id: str | None = None) -> list[Record]:
        """Records, newest first: of one step, or those whose id begins with `id`, or all."""
        query = select(record).order_by(record.c.ended.desc(), record.c.id)
        if step is not None:
            query = query.where(record.c.step == step)
        if id is not None:
            query = query.where(record.c.id.startswith(id, autoescape=True))
        with self.write() as connection:
            return [self._record(connection, row, store) for row in connection.execute(query).all()]

    def drop(self, ids: Sequence[str]) -> None:
        """Forget records that no kept record reads; the audit log keeps their digests."""
        with self.write() as connection:
            for id in ids:
                row = connection.execute(
                    select(record.c.digest, record.c.step).where(record.c.id == id)
                ).one()
                connection.execute(delete(record_input).where(record_input.c.record_id == id))
                connection.execute(delete(record).where(record.c.id == id))
                audit.append(connection, "record.swept", id, {"step": row.step, "digest": row.digest})

    def fingerprints(self, paths: Sequence[str]) -> dict[str, Row[Any]]:
        """Remembered fingerprints of files, by absolute path."""
        with self.write() as connection:
            rows = connection.execute(select(fingerprint)).all()
        wanted = set(paths)
        return {row.path: row for row in rows if row.path in wanted}

    def remember(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep fingerprints of files: path, size, mtime_ns, inode, sha256."""
        with self.write() as connection:
            for row in rows:
                connection.execute(delete(fingerprint).where(fingerprint.c.path == row["path"]))
            connection.execute(insert(fingerprint), list(rows))

    def _record(self, connection: Connection, row: Row[Any], store: Store) -> Record:
        body = json.loads(row.body)
        files = {name: FileEntry(**entry) for name, entry in body["files"].items()}
        inputs: dict[str, list[str]] = {}
        links = select(record_input).where(record_input.c.record_id == row.id)
        for link in connection.execute(links.order_by(record_input.c.role, record_input.c.position)):
            inputs.setdefault(link.role, []).append(link.input_id)
        return Record(
            **{name: getattr(row, name) for name in _COLUMNS},
            settings=body["settings"],
            inputs={role: tuple(ids) for role, ids in inputs.items()},
            facts={name: Fact(**fact) for name, fact in body["facts"].items()},
            choices=tuple(Choice(**choice) for choice in body["choices"]),
            files=files,
            environment=body["environment"],
            view=lambda: store.view(files),
            provisional=body.get("provisional", ""),  # a yard of schema 1 has none
        )

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()


_COLUMNS = ("id", "step", "key", "attempt", "digest", "started", "ended", "seconds")


def _connect(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy opens transactions itself, see _begin
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    reads = connection.get_execution_options().get("reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _explain(error: DatabaseError, path: Path) -> Exception:
    text = str(error.orig)
    if "locked" in text or "busy" in text:
        return Busy(
            f"another process has kept the ledger locked for {BUSY_S} s",
            where=str(path),
            try_="wait for it, or end it: `modelyard status` shows who runs",
        )
    if "full" in text:
        return NoRoom(
            "the disk is full", where=str(path), try_="free some space, then the same command again"
        )
    if "readonly" in text:
        return ProjectError(
            "the yard cannot be written to",
            where=str(path),
            try_="run as its owner, on a disk that takes writes",
        )
    if "malformed" in text or "not a database" in text or "disk I/O" in text:
        return RecordError(f"the ledger is damaged: {text}", where=str(path), try_="restore it from a backup")
    return error
