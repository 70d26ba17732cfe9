"""Keys: made, replaced, revoked, found. The secret is shown once; the ledger holds its hash."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from ..errors import ProjectError
from ..records import audit
from ..records.clock import now_us
from ..records.roles import ROLES, allowed
from ..records.tables.service import api_key, customer

PREFIX = "my-"
SHOWN = 8  # characters of a secret that the ledger keeps, to tell keys apart: 2 of 32 bytes' worth and a bit
SECRET = re.compile(r"my-[A-Za-z0-9_-]{43}")
GRACE_US = 24 * 3600 * 1_000_000

SCOPES = ("chat", "completions", "models", "usage", "metrics")
"""What a key can be narrowed to; a key without scopes may do all that its role may."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key as the ledger holds it: nothing here opens anything."""

    id: str
    customer_id: str | None
    """None: a key of the team itself, which can read but not ask on anybody's account."""
    role: str
    scopes: tuple[str, ...]
    """Empty: all that the role may do."""
    prefix: str
    created_us: int
    expires_us: int | None
    revoked_us: int | None
    replaces: str | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrency: int | None

    def valid(self, at_us: int) -> bool:
        """Whether it opens anything at a moment."""
        return self.revoked_us is None and (self.expires_us is None or at_us < self.expires_us)

    def may(self, scope: str) -> bool:
        """Whether its scopes include one of SCOPES; what its role may is asked of `records.roles`."""
        return not self.scopes or scope in self.scopes


_FIND = select(api_key).where(api_key.c.hash == bindparam("of"))


def create(
    connection: Connection,
    customer_id: str | None,
    role: str,
    scopes: Sequence[str],
    at_us: int,
    expires_us: int | None = None,
    rpm: int | None = None,
    tpm: int | None = None,
    concurrency: int | None = None,
) -> tuple[Key, str]:
    """A new key and its secret, which nobody can read again. Limits are per minute, and requests at once.

    Raises ProjectError for an unknown customer, role or scope, or a limit below 1.
    """
    _check(connection, customer_id, role, scopes, at_us, expires_us, (rpm, tpm, concurrency))
    secret = PREFIX + secrets.token_urlsafe(32)
    made = Key(
        id=f"key-{secrets.token_hex(8)}",
        customer_id=customer_id,
        role=role,
        scopes=tuple(scopes),
        prefix=secret[:SHOWN],
        created_us=at_us,
        expires_us=expires_us,
        revoked_us=None,
        replaces=None,
        requests_per_minute=rpm,
        tokens_per_minute=tpm,
        concurrency=concurrency,
    )
    _put(connection, made, secret, "key.created")
    return made, secret


def rotate(connection: Connection, id: str, at_us: int, grace_us: int = GRACE_US) -> tuple[Key, str]:
    """A key in the place of another, with the same rights and limits; the old one ends after the grace.

    Budgets of the old key do not pass over: they are counted by key. Raises ProjectError when it is over.
    """
    old = get(connection, id)
    if not old.valid(at_us):
        raise ProjectError(f"the key {old.id} is over", try_="`modelyard keys create` makes another")
    secret = PREFIX + secrets.token_urlsafe(32)
    new = replace(
        old,
        id=f"key-{secrets.token_hex(8)}",
        prefix=secret[:SHOWN],
        created_us=at_us,
        replaces=old.id,
    )
    _put(connection, new, secret, "key.rotated")
    end = at_us + grace_us if old.expires_us is None else min(old.expires_us, at_us + grace_us)
    connection.execute(update(api_key).where(api_key.c.id == old.id).values(expires_us=end))
    return new, secret


def revoke(connection: Connection, id: str, at_us: int) -> Key:
    """End a key at once; a second time changes nothing. The gateway refuses it within 2 s."""
    key = get(connection, id)
    if key.revoked_us is None:
        connection.execute(update(api_key).where(api_key.c.id == key.id).values(revoked_us=at_us))
        audit.append(connection, "key.revoked", key.id, {"at_us": at_us})
    return get(connection, key.id)


def listed(connection: Connection, customer_id: str | None = None) -> list[Key]:
    """All keys, or those of a customer, in the order they were made."""
    query = select(api_key).order_by(api_key.c.created_us, api_key.c.id)
    if customer_id is not None:
        query = query.where(api_key.c.customer_id == customer_id)
    return [_key(row) for row in connection.execute(query)]


def get(connection: Connection, id: str) -> Key:
    """The key whose id, or whose prefix as `keys list` shows it, is `id`. Raises ProjectError."""
    found = connection.execute(select(api_key).where((api_key.c.id == id) | (api_key.c.prefix == id))).all()
    if not found:
        raise ProjectError(f"there is no key {id!r}", try_="`modelyard keys list`")
    if len(found) > 1:
        raise ProjectError(f"{len(found)} keys begin with {id!r}", try_="the id: `modelyard keys list`")
    return _key(found[0])


def find(connection: Connection, secret: str, at_us: int | None = None) -> Key | None:
    """The key that a secret opens now, or None when it is unknown, revoked or over."""
    if not SECRET.fullmatch(secret):
        return None
    # A random 256-bit secret cannot be guessed from the time that looking up its hash takes.
    row = connection.execute(_FIND, {"of": _hash(secret)}).first()
    if row is None:
        return None
    key = _key(row)
    return key if key.valid(now_us() if at_us is None else at_us) else None


def _check(
    connection: Connection,
    customer_id: str | None,
    role: str,
    scopes: Sequence[str],
    at_us: int,
    expires_us: int | None,
    limits: Sequence[int | None],
) -> None:
    if role not in ROLES:
        raise ProjectError(f"there is no role {role!r}", try_=f"one of {', '.join(ROLES)}")
    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise ProjectError(f"there is no scope {unknown[0]!r}", try_=f"some of {', '.join(SCOPES)}")
    if customer_id is None and role == "customer":
        raise ProjectError("a key with the role customer belongs to a customer", try_="--customer ID")
    if customer_id is not None and not allowed(role, "usage.own"):
        raise ProjectError(
            f"a key with the role {role} belongs to no customer", try_="leave out --customer and --plan"
        )
    if customer_id is not None:
        known = select(customer.c.id).where(customer.c.id == customer_id)
        if connection.execute(known).first() is None:
            raise ProjectError(f"there is no customer {customer_id!r}", try_="`modelyard customers add`")
    if any(limit is not None and not 1 <= limit < 2**31 for limit in limits):
        raise ProjectError("a limit is a whole number from 1 on", try_="leave it out for no limit")
    if expires_us is not None and expires_us <= at_us:
        raise ProjectError("the key would be over already", try_="a later time")


def _put(connection: Connection, key: Key, secret: str, action: str) -> None:
    values = {name: getattr(key, name) for name in Key.__slots__}
    connection.execute(
        insert(api_key).values(**{**values, "scopes": json.dumps(key.scopes)}, hash=_hash(secret))
    )
    told = {"customer": key.customer_id, "role": key.role, "scopes": key.scopes, "replaces": key.replaces}
    audit.append(connection, action, key.id, told)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("ascii")).hexdigest()


def _key(row: Row[Any]) -> Key:
    values = {name: getattr(row, name) for name in Key.__slots__}
    return Key(**{**values, "scopes": tuple(json.loads(row.scopes))})
