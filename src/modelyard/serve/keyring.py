"""Keys as the gateway looks them up: remembered for a moment, so that a revoked one is refused soon."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass

from sqlalchemy import Connection

from .. import bill
from ..bill.rates import Rates
from ..errors import ModelyardError, ProjectError
from ..records.clock import now_us
from ..records.ledger import Ledger
from ..records.roles import Action, allowed
from . import keys
from .keys import Key
from .refusals import Refusal, busy

REMEMBERED_S = 1.0
MOST = 4096  # keys remembered; whoever tries wrong ones by the thousand cannot fill the memory


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who asks, by which contract, at which price."""

    key: Key
    contract_id: str | None
    cost: Rates | None


class Keyring:
    """Bearers by their secret."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[bytes, tuple[float, Bearer | None]] = {}

    async def bearer(self, authorization: str | None, action: Action, scope: str) -> Bearer:
        """The bearer of a request, who may do `action` with a key of this `scope`.

        Raises Refusal: 401 without a valid key, 403 for one that may not, 503 when the ledger cannot be read.
        """
        found = await self.find(authorization)
        if found is None:
            raise Refusal(401, "a valid API key is needed", code="invalid_api_key", again=False)
        if not allowed(found.key.role, action) or not found.key.may(scope):
            raise Refusal(
                403, f"this key may not do this: its role is {found.key.role}", code="not_permitted"
            )
        return found

    async def find(self, authorization: str | None) -> Bearer | None:
        """The bearer, or None for no key or one that is unknown, revoked or over."""
        kind, _, secret = (authorization or "").partition(" ")
        secret = secret.strip()
        if kind.lower() != "bearer" or not secret:
            return None
        name = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
        now = time.monotonic()
        until, bearer = self._known.get(name, (0.0, None))
        if now < until:
            if bearer is not None and not bearer.key.valid(now_us()):
                return None
            return bearer
        try:
            bearer = await asyncio.to_thread(self._read, secret)
        except ModelyardError:
            raise busy("the ledger cannot be read", 5.0, "ledger_unavailable") from None
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[name] = (now + REMEMBERED_S, bearer)
        return bearer

    def _read(self, secret: str) -> Bearer | None:
        with self._ledger.read() as connection:
            at_us = now_us()
            key = keys.find(connection, secret, at_us)
            return None if key is None else _bearer(connection, key, at_us)


def _bearer(connection: Connection, key: Key, at_us: int) -> Bearer:
    if key.customer_id is None:
        return Bearer(key, None, None)
    contract = bill.open_contract(connection, key.customer_id, at_us)
    try:
        cost = None if contract is None else bill.rates_of(connection, contract, at_us)
    except ProjectError:
        cost = None  # the books refuse what has no price
    return Bearer(key, contract, cost)
