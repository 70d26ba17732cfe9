"""What is served now: a release with its engine, started again when it dies, swapped without a gap."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from ..errors import ModelyardError
from .refusals import busy
from .released import Released
from .settings import Serve
from .story import Story
from .worker import Worker

SPARE = 2  # requests handed over beyond the engine's callers, so that it never waits for the books
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
STEADY_S = 60.0  # an engine that lived so long starts again without a wait


class Served:
    """A release and the engine that runs it, as long as anybody asks it."""

    def __init__(
        self, released: Released, settings: Serve, story: Story, restarted: Callable[[], None]
    ) -> None:
        self.released = released
        self.slots = asyncio.Semaphore(settings.callers + SPARE)
        self.reading = asyncio.Lock()
        """Held while its index is read."""
        self.users = 0
        self.worker: Worker | None = None
        self.gives: frozenset[str] = frozenset()
        self._settings = settings
        self._story = story
        self._restarted = restarted
        self._closing = asyncio.Event()
        self._again_at = 0.0
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the engine. Raises what kept it from loading."""
        await self._load()
        self._keeper = asyncio.create_task(self._keep())

    async def _load(self) -> None:
        worker = Worker(self.released, callers=self._settings.callers, silence_s=self._settings.silence_s)
        await worker.ready
        self.gives = worker.gives
        self.worker = worker

    async def _keep(self) -> None:
        """Start the engine again when it ends, later each time that it does not live long."""
        wait = 0.0
        while not self._closing.is_set():
            began = time.monotonic()
            if self.worker is not None:
                error = await self.worker.ended
                self.worker = None
                if self._closing.is_set():
                    return
                self._restarted()
                self._story("the engine has ended: {what}", what=error.what if error else "closed")
            wait = (
                0.0
                if time.monotonic() - began > STEADY_S
                else min(max(FIRST_WAIT_S, 2 * wait), LONGEST_WAIT_S)
            )
            self._again_at = time.monotonic() + wait
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), wait or 0.01)
                return
            try:
                await self._load()
                self._story("the engine runs again")
            except ModelyardError as error:
                self._story("the engine does not start: {what}", what=error.what)

    def running(self) -> Worker:
        """The engine. Raises Refusal (503, with when to come again) while there is none."""
        if self.worker is None or self.worker.ended.done():
            raise busy("the engine is being started again", max(1.0, self._again_at - time.monotonic()))
        return self.worker

    async def close(self) -> None:
        """End the engine; requests under way fail."""
        self._closing.set()
        if self.worker is not None:
            worker = self.worker
            worker.close()
            await worker.ended
        if self._keeper is not None:
            await self._keeper
        if self.released.index is not None:
            self.released.index.close()


class Fleet:
    """The release that new requests go to, and older ones that still answer theirs."""

    def __init__(self, settings: Serve, story: Story, restarted: Callable[[], None]) -> None:
        self._settings = settings
        self._story = story
        self._restarted = restarted
        self.current: Served | None = None
        self._old: set[Served] = set()
        self._leaving: set[asyncio.Task[None]] = set()

    async def serve(self, released: Released) -> None:
        """Load `released`, then send new requests to it; the one before ends after its last answer.

        Raises what kept it from loading; then nothing has changed.
        """
        served = Served(released, self._settings, self._story, self._restarted)
        await served.start()
        before, self.current = self.current, served
        if before is not None:
            self._old.add(before)
            self._leave(before)

    def released(self) -> Released:
        """What is served now. Raises Refusal while nothing is."""
        if self.current is None:
            raise busy("the service is starting", 1.0, "starting")
        return self.current.released

    def enter(self) -> Served:
        """The release for a new request, which must `leave` it. Raises Refusal while nothing is served."""
        self.released()
        assert self.current is not None
        self.current.users += 1
        return self.current

    def leave(self, served: Served) -> None:
        """The request is over."""
        served.users -= 1
        self._leave(served)

    def _leave(self, served: Served) -> None:
        if served in self._old and not served.users:
            self._old.discard(served)
            task = asyncio.create_task(served.close())
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """End every engine."""
        everyone = [*self._old, *([self.current] if self.current else [])]
        self._old.clear()
        self.current = None
        await asyncio.gather(*(served.close() for served in everyone), *self._leaving)
