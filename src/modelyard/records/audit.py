"""The audit log: a hash chain over what was made and decided. It holds no personal text."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, insert, select

from ..errors import RecordError
from .clock import now
from .digest import canonical, digest
from .tables import audit, record

START = "0" * 64  # what the first entry follows


def append(connection: Connection, action: str, subject: str, body: dict[str, Any]) -> None:
    """Add an entry, in the caller's transaction: what is audited and its entry stand or fall together."""
    last = connection.execute(select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)).first()
    seq, previous = (last.seq + 1, last.hash) if last else (1, START)
    entry = {
        "seq": seq,
        "at": now(),
        "action": action,
        "subject": subject,
        "body": canonical(body).decode(),
        "previous": previous,
    }
    connection.execute(insert(audit).values(**entry, hash=digest("audit", entry)))


def has(connection: Connection, action: str, subject: str) -> bool:
    """Whether there is an entry of `action` on `subject`."""
    found = select(audit.c.seq).where(audit.c.action == action, audit.c.subject == subject).limit(1)
    return connection.execute(found).first() is not None


def verify(connection: Connection) -> int:
    """Follow the whole chain; returns the number of entries.

    Raises RecordError at the first entry that was changed, removed or put in, and for a record
    that has no entry or is not what its entry says.
    """
    previous, expected = START, 1
    said: dict[str, tuple[str, str]] = {}
    for row in connection.execute(select(audit).order_by(audit.c.seq)).mappings():
        entry = {name: row[name] for name in ("seq", "at", "action", "subject", "body", "previous")}
        if row["seq"] != expected or row["previous"] != previous or row["hash"] != digest("audit", entry):
            raise RecordError(
                f"the audit log breaks at entry {expected}: an entry was changed, removed or put in",
                try_="compare the yard with its last backup; nothing after this entry can be trusted",
            )
        if row["action"] == "record.made":
            made = json.loads(row["body"])
            said[row["subject"]] = (made["digest"], made["body"])
        elif row["action"] == "record.swept":
            said.pop(row["subject"], None)
        previous, expected = row["hash"], expected + 1
    _check_records(connection, said)
    return expected - 1


def seal(body: str) -> str:
    """The digest of a record's row (settings, facts, choices, files), as its audit entry holds it."""
    return digest("body", body)


def _check_records(connection: Connection, said: dict[str, tuple[str, str]]) -> None:
    there = {
        row.id: (row.digest, seal(row.body))
        for row in connection.execute(select(record.c.id, record.c.digest, record.c.body))
    }
    for id in sorted(there.keys() | said.keys()):
        if there.get(id) != said.get(id):
            raise RecordError(
                f"record {id} is not what the audit log says was made",
                try_="compare the yard with its last backup",
            )
