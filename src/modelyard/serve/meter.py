"""How bodies are compared: by a keyed digest, since a plain one of a short prompt could be guessed."""

from __future__ import annotations

import hmac
import secrets

from sqlalchemy import Connection, insert, select

from ..records.tables.service import secret

NAME = "body"


def body_secret(connection: Connection) -> bytes:
    """The yard's own key for bodies, made on first use; it never leaves the ledger."""
    found = connection.execute(select(secret.c.value).where(secret.c.name == NAME)).scalar()
    if found is None:
        found = secrets.token_hex(32)
        connection.execute(insert(secret).values(name=NAME, value=found))
    return bytes.fromhex(found)


def body_mac(key: bytes, body: bytes) -> str:
    """HMAC-SHA256 of a request's body, in 64 hex digits."""
    return hmac.digest(key, body, "sha256").hex()
