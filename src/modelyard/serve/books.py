"""The books of the service: what is reserved before a request runs and what it took, each in one transaction.

A `Books` object owns the one thread that writes while requests are answered. Each call returns a
future that is resolved only after the commit: what it says is on the disk. Work that was handed in is
always done, whether or not anybody still waits: cancelling such a future has no effect, so whoever stops
waiting for a reservation must still release it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import TypeVar

from sqlalchemy import Connection

from .. import bill
from ..bill.rates import Rates
from ..records.clock import now_us
from ..records.ledger import Ledger
from .asks import Ask, Held, Settled, Used
from .patience import Patience
from .reserve import reserve
from .settle import extend, reap, release, settle
from .writer import Writer

LEASE_US = 30_000_000
"""A hold is freed so long after its last `extend`; the gateway extends every 10 s."""
REAP_S = 2.0
"""How often the thread looks for leases that are over."""
GROUP_S = 0.010
"""Work taken into one transaction; with the commit it stays well under the design's 50 ms."""

T = TypeVar("T")


class Books:
    """Reservations, settlements and other writes of the gateway, in groups of one commit each."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Callable[[], int] = now_us,
        *,
        reap_s: float = REAP_S,
        group_s: float = GROUP_S,
    ) -> None:
        self._clock = clock
        self._rates: dict[str, Rates] = {}
        self._patience = Patience()
        self._writer = Writer(ledger, upkeep=self._reap, every_s=reap_s, group_s=group_s)

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        """Run `work` in the next transaction, in a savepoint of its own; any thread may call this.

        What it raises comes from the future and undoes its own writes only. Busy or NoRoom of the ledger
        fails all that were committed together.
        """
        return self._writer.submit(work)

    def reserve(self, ask: Ask, patience_s: float = 0.0) -> Future[Held]:
        """Hold what the request can cost at most.

        Where only what others hold stands in the way, it waits for them up to `patience_s` (and REAP_S)
        before it is denied. The future raises Denied (429, code insufficient_quota or unpriceable, with
        `resets_us` and `soon`), KeyRefused (401), Duplicate (409; `done` says whether it is finished) or
        Conflict (409).
        """

        def work(connection: Connection) -> Held:
            at_us = self._clock()
            held = reserve(connection, ask, at_us, at_us + LEASE_US)
            if ask.cost is not None:
                self._rates[ask.cost.plan_version] = ask.cost
            return held

        if not patience_s:
            return self._writer.submit(work)
        return self._patience.wait(lambda: self._writer.submit(work), patience_s)

    def settle(self, request_id: str, used: Used) -> Future[Settled]:
        """Write the usage event and turn the hold into what was spent, in one transaction; idempotent.

        After the lease has run out it is still counted, once, as long as the hard budgets have room;
        otherwise the future raises Denied and the request stays among the unreconciled.
        """
        began = time.monotonic_ns()

        def work(connection: Connection) -> Settled:
            waited_us = (time.monotonic_ns() - began) // 1000
            whole = replace(used, database_us=used.database_us + waited_us)
            settled = settle(connection, request_id, whole, self._clock(), self._rates_of)
            self._patience.again()
            return settled

        return self._writer.submit(work)

    def release(self, request_id: str, why: str) -> Future[None]:
        """Free a hold of which nothing was used, such as after an engine's crash; idempotent."""

        def work(connection: Connection) -> None:
            release(connection, request_id, why)
            self._patience.again()

        return self._writer.submit(work)

    def extend(self, *request_ids: str) -> Future[int]:
        """Renew the leases of requests that still run; returns how many still stand."""
        return self._writer.submit(
            lambda connection: extend(connection, request_ids, self._clock() + LEASE_US)
        )

    def reap(self) -> Future[int]:
        """Expire holds whose lease is over; the thread does it by itself every REAP_S seconds."""
        return self._writer.submit(self._reap)

    def close(self) -> None:
        """Do all that was handed in, then end the thread."""
        self._patience.close()
        self._writer.close()

    def _reap(self, connection: Connection) -> int:
        at_us = self._clock()
        over = reap(connection, at_us, at_us + LEASE_US)
        self._patience.again()  # also for those whose patience is over
        return over

    def _rates_of(self, connection: Connection, version: str) -> Rates:
        """The rates of a plan version, which never change; read only for a hold of an earlier process."""
        if version not in self._rates:
            self._rates[version] = bill.get(connection, version).rates
        return self._rates[version]
