"""An engine that computes for one request at a time, in turn: requests, choice of tokens, and scoring.

What differs by runtime is how tokens are read: `_open` room for a request, `_read` some of what is next,
`_close` the room.
"""

from __future__ import annotations

import resource
import secrets
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .protocol import Event, Finish, Request

if TYPE_CHECKING:
    import numpy as np

    Logits = np.ndarray[Any, np.dtype[np.float64]]

Room = TypeVar("Room")


@dataclass(slots=True)
class Run(Generic[Room]):
    """A request under way: what is read next, and its room, which holds the `at` tokens that were read."""

    request: Request
    next: list[int]
    room: Room
    draw: Any
    at: int = 0
    made: int = 0


class Stepwise(ABC, Generic[Room]):
    """The Engine protocol over `_open`, `_read` and `_close`."""

    name: str
    gives = frozenset({"sampling", "seed", "logprobs"})

    def __init__(self, *, callers: int, context_tokens: int) -> None:
        import numpy

        self._numpy = numpy
        self._callers, self._context = callers, context_tokens
        self._running: dict[str, Run[Room]] = {}
        self._waiting: deque[Request] = deque()
        self._told: list[Event] = []

    @abstractmethod
    def _open(self) -> Room:
        """Room for one request's tokens."""

    @abstractmethod
    def _read(self, run: Run[Room]) -> Logits | None:
        """Read some of what is next, and take it off; the logits (vocabulary,) after its last token."""

    @abstractmethod
    def _close(self, room: Room) -> None:
        """Let go of a request's room."""

    def submit(self, request: Request) -> None:
        if len(request.prompt) + request.max_tokens > self._context:
            why = f"prompt and answer exceed the context of {self._context} tokens"
            self._told.append(Event(request.id, (), time.monotonic(), "failed", why))
        else:
            self._waiting.append(request)

    def cancel(self, id: str) -> None:
        waiting = [request for request in self._waiting if request.id != id]
        if len(waiting) < len(self._waiting) or self._end(id):
            self._waiting = deque(waiting)
            self._told.append(Event(id, (), time.monotonic(), "cancelled"))

    def poll(self, wait_s: float) -> list[Event]:
        while self._waiting and len(self._running) < self._callers:
            request = self._waiting.popleft()
            self._running[request.id] = self._begin(request)
        for run in list(self._running.values()):
            logits = self._read(run)
            if logits is not None:
                self._told.append(self._choose(run, logits))
        told, self._told = self._told, []
        return told

    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
        run = self._begin(Request("score", tuple(prompt), len(answer)))
        found: list[float] = []
        try:
            while len(found) < len(answer):
                logits = self._read(run)
                if logits is not None:
                    token = answer[len(found)]
                    found.append(self._logprob(logits, token))
                    run.next = [token]
        finally:
            self._close(run.room)
        return found

    def memory_peak_gib(self) -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts KiB

    def close(self) -> None:
        self._running.clear()
        self._waiting.clear()

    def _begin(self, request: Request) -> Run[Room]:
        seed = secrets.randbits(32) if request.seed is None else request.seed
        return Run(request, list(request.prompt), self._open(), self._numpy.random.default_rng(seed))

    def _end(self, id: str) -> bool:
        run = self._running.pop(id, None)
        if run is not None:
            self._close(run.room)
        return run is not None

    def _choose(self, run: Run[Room], logits: Logits) -> Event:
        """The next token of a request, as its event."""
        request = run.request
        token = int(logits.argmax()) if request.temperature == 0 else self._drawn(run, logits)
        run.made += 1
        run.next = [token]
        finish: Finish | None = None
        if token in request.stop:
            finish = "stop"
        elif run.made >= request.max_tokens:
            finish = "length"
        if finish:
            self._end(request.id)
        tokens = () if finish == "stop" else (token,)
        chances = (self._logprob(logits, token),) if request.logprobs and tokens else ()
        return Event(request.id, tokens, time.monotonic(), finish, logprobs=chances)

    def _drawn(self, run: Run[Room], logits: Logits) -> int:
        """A token by temperature, among the likeliest that together have the chance top_p."""
        numpy = self._numpy
        warm = logits / run.request.temperature
        chances = numpy.exp(warm - warm.max())
        chances /= chances.sum()
        order = numpy.argsort(-chances)
        before = numpy.cumsum(chances[order]) - chances[order]
        kept = order[before < run.request.top_p]
        return int(run.draw.choice(kept, p=chances[kept] / chances[kept].sum()))

    def _logprob(self, logits: Logits, token: int) -> float:
        most = logits.max()
        return float(logits[token] - most - self._numpy.log(self._numpy.exp(logits - most).sum()))
