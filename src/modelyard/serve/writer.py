"""The one thread that writes while requests are answered: what waits together is committed together."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError, IntegrityError

from ..records.ledger import Ledger

T = TypeVar("T")


class Stands(Exception):
    """What work raises when its writes stand although the caller gets `error`."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[Connection], Any]
    future: Future[Any]


class Writer:
    """A queue of work and the thread that does it: one transaction a group, one savepoint a piece.

    `upkeep` is done at the start and every `every_s` seconds; what it raises is tried again then. A group
    takes no more work after `group_s` seconds.
    """

    def __init__(
        self, ledger: Ledger, *, upkeep: Callable[[Connection], object], every_s: float, group_s: float
    ) -> None:
        self._ledger = ledger
        self._upkeep, self._every_s, self._group_s = upkeep, every_s, group_s
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._waiting: deque[_Job] = deque()  # taken from the queue; only the thread looks at it
        self._over = False
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="books", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        """Run `work` in the next transaction. Its future is resolved after the commit.

        What `work` raises undoes only its own writes. Raises RuntimeError after `close`.
        """
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()  # from here on nobody can take the work back
        with self._closing:
            if self._closed:
                raise RuntimeError("the books are closed")
            self._queue.put(_Job(work, future))
        return future

    def close(self) -> None:
        """Do what was handed in, then end."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()  # a gateway before this one may have left holds behind
        while self._waiting or not self._over:
            now = time.monotonic()
            if now >= due:
                due = now + self._every_s
                self._waiting.appendleft(_Job(self._upkeep, Future()))
            elif not self._waiting:
                self._take(due - now)
            if self._waiting:
                self._take(0.0)
                self._group()

    def _take(self, wait_s: float) -> None:
        """Bring what was handed in among those who wait: all of it, or one after at most `wait_s`."""
        while not self._over:
            try:
                job = self._queue.get(timeout=wait_s) if wait_s else self._queue.get_nowait()
            except Empty:
                return
            if job is None:
                self._over = True
            else:
                self._waiting.append(job)
                if wait_s:
                    return

    def _group(self) -> None:
        """Do what waits, and what comes in the meantime, in one transaction."""
        started: list[_Job] = []
        done: list[tuple[Any, Exception | None]] = []
        try:
            with self._ledger.write() as connection:
                until = time.monotonic() + self._group_s
                while self._waiting:
                    started.append(self._waiting.popleft())
                    done.append(_piece(connection, started[-1].work))
                    if time.monotonic() >= until:
                        break
                    if not self._waiting:
                        self._take(0.0)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            if not started:  # it could not begin, and that took its time: nobody waits twice as long
                started, self._waiting = list(self._waiting), deque()
            for job in started:
                job.future.set_exception(error)
            return
        for job, (result, problem) in zip(started, done, strict=True):
            if problem is None:
                job.future.set_result(result)
            else:
                job.future.set_exception(problem)


def _piece(connection: Connection, work: Callable[[Connection], Any]) -> tuple[Any, Exception | None]:
    """One piece of work in its savepoint. A failing database (not a broken rule) fails the group."""
    result: Any = None
    problem: Exception | None = None
    connection.exec_driver_sql("SAVEPOINT piece")
    try:
        result = work(connection)
    except Stands as stands:
        problem = stands.error
    except DatabaseError as error:
        if not isinstance(error, IntegrityError):
            raise  # SQLite may have rolled all back, as on a full disk: nothing more may be written
        connection.exec_driver_sql("ROLLBACK TO piece")
        problem = error
    except Exception as error:  # noqa: BLE001 - it is the caller's, who gets it from the future
        connection.exec_driver_sql("ROLLBACK TO piece")
        problem = error
    connection.exec_driver_sql("RELEASE piece")
    return result, problem
