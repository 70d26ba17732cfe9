"""Waiting for others: a reservation that only requests under way stand against is tried again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..errors import Denied


@dataclass(slots=True)
class _Waiter:
    attempt: Callable[[], Future[Any]]
    future: Future[Any]
    until: float
    ended: int = 0
    """How many holds had ended when it was last tried."""


class Patience:
    """Those who wait, first come, first tried. Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[_Waiter] = []
        self._ended = 0
        self._closed = False

    def wait(self, attempt: Callable[[], Future[Any]], seconds: float) -> Future[Any]:
        """What `attempt` gives, tried again for so long while it is Denied with `soon`."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self._try(_Waiter(attempt, future, time.monotonic() + seconds))
        return future

    def again(self) -> None:
        """A hold has ended: try all who wait."""
        with self._lock:
            self._ended += 1
            waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            self._try(waiter)

    def close(self) -> None:
        """Nobody waits any longer: each is tried once more."""
        with self._lock:
            self._closed = True
        self.again()

    def _try(self, waiter: _Waiter) -> None:
        waiter.ended = self._ended
        try:
            tried = waiter.attempt()
        except RuntimeError as error:  # the books were closed in between
            waiter.future.set_exception(error)
            return
        tried.add_done_callback(partial(self._tried, waiter))

    def _tried(self, waiter: _Waiter, tried: Future[Any]) -> None:
        error = tried.exception()
        if error is None:
            waiter.future.set_result(tried.result())
            return
        if isinstance(error, Denied) and error.soon and time.monotonic() < waiter.until:
            with self._lock:
                closed, missed = self._closed, waiter.ended != self._ended
                if not closed and not missed:
                    self._waiting.append(waiter)
                    return
            if missed and not closed:  # one ended between the try and now
                self._try(waiter)
                return
        waiter.future.set_exception(error)
