"""Requests to an HTTP server as an engine's: a thread reads each answer's stream, `poll` tells it."""

from __future__ import annotations

import http.client
import json
import queue
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ..errors import EngineError
from .protocol import Event, Finish, Request

TIMEOUT_S = 600.0  # an engine that hangs is killed from outside, by its worker's limit, long before
CONNECT_S = 10.0


@dataclass(frozen=True)
class Address:
    """Where a server is: a URL without a slash at its end, and what every request to it carries."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # the key is among them

    def open(self, path: str, body: Mapping[str, Any] | None = None, run: Run | None = None) -> Reply:
        """The answer of a GET, or of a POST of `body` as JSON; `run` can be cancelled from its start.

        Raises EngineError for a status other than 200 and for a server that cannot be reached.
        """
        where = urlsplit(self.url)
        kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
        connection = kind(str(where.hostname), where.port, timeout=CONNECT_S)
        try:
            connection.connect()
            connection.sock.settimeout(TIMEOUT_S)
            if run is not None:  # before the prompt is read: that may take seconds, and can be cancelled too
                run.opened(connection.sock)
            sent = {"Content-Type": "application/json", **self.headers}
            content = None if body is None else json.dumps(body)
            connection.request("GET" if body is None else "POST", where.path + path, content, sent)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unreachable(f"the server does not answer: {type(error).__name__}") from None
        if response.status != http.HTTPStatus.OK:
            connection.close()
            # The server's message may quote the prompt: only its kind is passed on.
            raise Declined(f"the server refused the request with status {response.status}", response.status)
        return Reply(connection, response)

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON that comes back. Raises EngineError as `open` does, and for what is no JSON."""
        with self.open(path, body) as reply:
            try:
                return json.loads(reply.response.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise EngineError(f"the server's answer broke off: {type(error).__name__}") from None


class Unreachable(EngineError):
    """Nobody answers at the address."""


class Declined(EngineError):
    """The server does not take the request."""

    def __init__(self, what: str, status: int) -> None:
        super().__init__(what)
        self.status = status


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer under way, to be closed: a request that still runs ends when its reader goes away."""

    connection: http.client.HTTPConnection
    response: http.client.HTTPResponse

    def __enter__(self) -> Reply:
        return self

    def __exit__(self, *error: object) -> None:
        self.connection.close()

    def chunks(self) -> Iterator[dict[str, Any]]:
        """The objects of a stream of server-sent events. Raises EngineError where one tells of a failure."""
        while line := self.response.readline():
            kind, _, told = line.strip().partition(b": ")
            if kind == b"error":
                raise EngineError("the server failed while it answered")
            if kind == b"data" and told != b"[DONE]":
                chunk = json.loads(told)
                if "error" in chunk:
                    raise EngineError("the server failed while it answered")
                yield chunk


class Run:
    """A request under way; cancelling it shuts its socket, which ends the server's work and our reading."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.cancelled = False
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def opened(self, link: socket.socket) -> None:
        """Its connection is made."""
        with self._lock:
            self._socket = link
            if self.cancelled:
                self._shut()

    def cancel(self) -> None:
        """End it."""
        with self._lock:
            self.cancelled = True
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # it has ended by itself
                self._socket.shutdown(socket.SHUT_RDWR)


class Streams(ABC):
    """The half of an engine that is the same for every server; `_follow` reads one answer."""

    def __init__(self, *, context_tokens: int) -> None:
        self._context = context_tokens
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._running: dict[str, Run] = {}

    def submit(self, request: Request) -> None:
        if len(request.prompt) + request.max_tokens > self._context:
            why = f"prompt and answer exceed the context of {self._context} tokens"
            self._events.put(Event(request.id, (), time.monotonic(), "failed", why))
            return
        self._running[request.id] = run = Run(request)
        threading.Thread(target=self._stream, args=(run,), daemon=True).start()

    def cancel(self, id: str) -> None:
        run = self._running.get(id)
        if run is not None:
            run.cancel()

    def poll(self, wait_s: float) -> list[Event]:
        found: list[Event] = []
        try:
            found.append(self._events.get(timeout=wait_s))
            while True:
                found.append(self._events.get_nowait())
        except queue.Empty:
            pass
        for event in found:
            if event.finish:
                self._running.pop(event.id, None)
        return found

    def close(self) -> None:
        for run in self._running.values():
            run.cancel()

    @abstractmethod
    def _follow(self, run: Run) -> Finish:
        """Ask, `_tell` what comes, and say how it ended. Runs in a thread of its own."""

    def _stream(self, run: Run) -> None:
        finish: Finish = "failed"
        why = ""
        try:
            finish = self._follow(run)
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError, EngineError) as error:
            why = error.what if isinstance(error, EngineError) else type(error).__name__
        if run.cancelled:
            finish, why = "cancelled", ""
        self._events.put(Event(run.request.id, (), time.monotonic(), finish, why))

    def _tell(
        self, request: Request, told: list[int], new: Sequence[int], logprobs: Sequence[float] = ()
    ) -> bool:
        """Hand out new tokens up to a stop token, and note them in `told`; true when there was one."""
        ends = [at for at, token in enumerate(new) if token in request.stop]
        told += new[: ends[0] + 1] if ends else new
        if tokens := tuple(new[: ends[0]] if ends else new):
            chances = tuple(logprobs[: len(tokens)])
            self._events.put(Event(request.id, tokens, time.monotonic(), logprobs=chances))
        return bool(ends)
