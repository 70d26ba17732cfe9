"""An engine's process and the one thread that talks to it; asyncio asks and is told through both."""

from __future__ import annotations

import asyncio
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from .. import engines
from ..engines import Event, Request
from ..engines.process import EngineProcess
from ..errors import EngineCrashed, ModelyardError
from .released import SPARE_TOKENS, Released

TICK_S = 1.0  # how often a silent engine is looked at


class Listener(Protocol):
    """Who asked: told of every event of its request, in the event loop's thread."""

    def take(self, event: Event) -> None: ...


class Worker:
    """One loaded engine. All methods but `close` belong to the event loop's thread."""

    def __init__(self, released: Released, *, callers: int, silence_s: float) -> None:
        self._released = released
        self._callers = callers
        self._silence_s = silence_s
        self._loop = asyncio.get_running_loop()
        self._orders: deque[Request | str | None] = deque()
        self._listeners: dict[str, Listener] = {}
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._awake = False
        self.pid: int | None = None
        self.gives: frozenset[str] = frozenset()
        """What its engine can give; known when it is ready."""
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.ended: asyncio.Future[ModelyardError | None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request, listener: Listener) -> None:
        """Ask; the listener hears every event. A worker that has ended answers at once that it failed."""
        if self.ended.done():
            listener.take(Event(request.id, (), 0.0, "failed", "the engine has ended"))
            return
        self._listeners[request.id] = listener
        self._order(request)

    def cancel(self, id: str) -> None:
        """Stop a request; its listener hears "cancelled", or the end that came first."""
        if id in self._listeners:
            self._order(id)

    def close(self) -> None:
        """Have the process end; `ended` tells when it has."""
        self._order(None)

    def _order(self, order: Request | str | None) -> None:
        self._orders.append(order)
        if not self._awake:
            self._awake = True
            with suppress(BlockingIOError, OSError):  # full: it will wake anyway; closed: it has ended
                os.write(self._wake_write, b"x")

    def _run(self) -> None:
        """The thread: everything that touches the engine."""
        error: ModelyardError | None = None
        engine: engines.Engine | None = None
        try:
            engine = self._start()
            self._tell(self._set_ready)
            self._serve(engine)
        except ModelyardError as caught:
            error = caught
        except Exception as caught:  # noqa: BLE001 (whatever it is, the fleet starts another)
            error = EngineCrashed(f"the engine's thread failed with {type(caught).__name__}")
        if engine is not None:
            with suppress(Exception):
                engine.close()
        self._tell(self._set_ended, error)

    def _start(self) -> EngineProcess:
        released = self._released
        engine = engines.start(
            released.engine,
            engines.model_path(released.folder),
            threads=released.threads,
            lookup=released.lookup,
            callers=self._callers,
            context_tokens=released.context_tokens + SPARE_TOKENS,
            limit_s=self._silence_s,
            quiet=True,
        )
        assert isinstance(engine, EngineProcess)
        self.pid, self.gives = engine.pid, engine.gives
        return engine

    def _serve(self, engine: EngineProcess) -> None:
        while True:
            ready, _, _ = select.select([engine.fileno(), self._wake_read], [], [], TICK_S)
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
            self._awake = False  # before the orders are read: one that comes now wakes us again
            while self._orders:
                order = self._orders.popleft()
                if order is None:
                    return
                if isinstance(order, str):
                    engine.cancel(order)
                else:
                    engine.submit(order)
            events = engine.poll(0.0)
            if events:
                self._tell(self._deliver, events)

    def _tell(self, what: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(what, *arguments)

    def _deliver(self, events: list[Event]) -> None:
        for event in events:
            listener = self._listeners.get(event.id)
            if listener is not None:
                if event.finish:
                    del self._listeners[event.id]
                listener.take(event)

    def _set_ready(self) -> None:
        if not self.ready.done():
            self.ready.set_result(None)

    def _set_ended(self, error: ModelyardError | None) -> None:
        os.close(self._wake_read)
        os.close(self._wake_write)
        self._wake_write = -1
        if not self.ready.done():
            self.ready.set_exception(error or EngineCrashed("the engine was closed while it started"))
            self.ready.exception()  # looked at, so that nobody is told that nobody looked
        self.ended.set_result(error)
        listeners, self._listeners = self._listeners, {}
        for id, listener in listeners.items():
            listener.take(Event(id, (), 0.0, "failed", "the engine ended"))
