"""The service of one yard: what it is made of, how it starts, follows new releases, and stops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from ..errors import ModelyardError, ProjectError
from ..records.yard import Yard
from . import released, rollback
from .asking import Asking
from .books import Books
from .fleet import Fleet
from .keyring import Keyring
from .meter import body_secret
from .metrics import Metrics
from .refusals import busy
from .settings import Serve
from .story import Story

EXTEND_S = 10.0  # how often the leases of requests under way are renewed; a lease is three times as long
LOOK_S = 1.0  # how often a newer release is looked for
CANCEL_S = 3.0  # of the drain: left for what was cancelled to be settled


class Gateway:
    """All of it lives in the event loop's thread; `start` before anything is asked, `close` at the end."""

    asking: Asking

    def __init__(self, yard: Yard, settings: Serve, story: Story) -> None:
        self.yard = yard
        self.settings = settings
        self.metrics = Metrics()
        self.keyring = Keyring(yard.ledger)
        self.fleet = Fleet(settings, story, self.metrics.restarts.inc)
        self.say = story
        self._books = Books(yard.ledger)
        self._duties: set[asyncio.Task[None]] = set()
        self._tried = ""  # the newer release that was tried last: one that cannot be served is told once

    async def start(self) -> None:
        """Load the release and its engine. Raises what keeps it from being served."""
        secret = await asyncio.wrap_future(self._books.submit(body_secret))
        self.asking = Asking(self._books, self.fleet, self.metrics, self.settings, self.say, secret)
        id = await asyncio.to_thread(self._chosen)
        if id is None:
            raise ProjectError("there is no release yet", where=str(self.yard.root), try_="modelyard up")
        await self._serve(id)
        self._duty(self._extend())
        self._duty(self._follow())

    def ready(self) -> None:
        """Whether a request would be taken now. Raises Refusal (503) when not."""
        if self.asking.draining:
            raise busy("the service is stopping", 5.0, "stopping")
        if self.fleet.current is None:
            raise busy("the service is starting", 1.0, "starting")
        self.fleet.current.running()

    async def drain(self) -> None:
        """Take no more requests, wait for those under way, then stop and settle what is left."""
        await self.asking.drain(self.settings.drain_s - CANCEL_S, CANCEL_S)

    async def close(self) -> None:
        """End engines and books; what was written until now is on the disk."""
        for task in self._duties:
            task.cancel()
        await self.fleet.close()
        await asyncio.to_thread(self._books.close)

    async def _extend(self) -> None:
        """Keep the leases of what is under way."""
        while True:
            await asyncio.sleep(EXTEND_S)
            ids = [turn.id for turn in self.asking.turns]
            if ids:
                with suppress(ModelyardError):  # the next time; a lease lasts three of them
                    await asyncio.wrap_future(self._books.extend(*ids))

    async def _follow(self) -> None:
        """Serve a newer release as soon as there is one, and an older one that is rolled back to."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                id = await asyncio.to_thread(self._chosen)
                served = self.fleet.released().id
                if id is None or id in (served, self._tried):
                    self._tried = "" if id == served else self._tried
                    continue
                self._tried = id
                await self._serve(id)
            except ModelyardError as error:
                self.say("a newer release is not served: {what}", what=error.what)
            except Exception as error:  # noqa: BLE001 (a release that makes no sense must not end the duty)
                self.say("a newer release is not served: {what}", what=type(error).__name__)

    def _chosen(self) -> str | None:
        with self.yard.ledger.read() as connection:
            return rollback.served(connection)

    async def _serve(self, id: str) -> None:
        began = time.monotonic()
        limit = self.settings.context_tokens
        key = self.settings.signed_by
        found = await asyncio.to_thread(
            lambda: released.load(self.yard, id, context_tokens=limit, signed_by=key)
        )
        await self.fleet.serve(found)
        self.metrics.serves(found.id)
        seconds = f"{time.monotonic() - began:.1f}"
        self.say(
            "release {id} is served by {engine}, loaded in {seconds} s",
            id=found.id,
            engine=found.engine,
            seconds=seconds,
        )

    def _duty(self, duty: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(duty)
        self._duties.add(task)
        task.add_done_callback(self._duties.discard)
