"""An engine without a model: it repeats the prompt. For tests, demos and loads on what surrounds it."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import secrets
import signal
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import EngineError
from .protocol import Engine, Event, Finish, Request


@dataclass(frozen=True, slots=True)
class Habits:
    """How it behaves: read from the "model", when that is a JSON file."""

    step_s: float = 0.0
    """Seconds that one token takes."""
    crash_on: int | None = None
    """A prompt with this token ends the process by SIGSEGV."""
    hang_on: int | None = None
    """A prompt with this token is never answered, and the process never listens again."""
    fail_on: int | None = None
    """A prompt with this token fails alone."""


def start(model: Path, *, threads: int, callers: int, context_tokens: int, exact: bool = False) -> Engine:
    """The engine; `model` need not exist. It, or a habits.json beside it, may be a file with its habits."""
    habits = Habits()
    told = model if model.suffix == ".json" else model.with_name("habits.json")
    if told.is_file():
        try:
            habits = Habits(**json.loads(told.read_text("utf-8")))
        except (ValueError, TypeError) as error:
            raise EngineError(f"echo does not know these habits: {error}", where=str(told)) from None
    return Echo(habits, callers=callers, context_tokens=context_tokens)


class Echo:
    """Each request's answer is its own prompt, a token a step, up to a stop token or its end."""

    name = "echo"
    gives = frozenset({"prompt_logprobs", "exact", "sampling", "seed", "logprobs"})

    def __init__(self, habits: Habits, *, callers: int, context_tokens: int) -> None:
        self._habits = habits
        self._callers = callers
        self._context = context_tokens
        self._waiting: deque[Request] = deque()
        self._running: dict[str, tuple[Request, int]] = {}
        self._told: list[Event] = []

    def submit(self, request: Request) -> None:
        if self._habits.fail_on in request.prompt:
            self._tell(request.id, (), "failed", "the engine was told to fail")
        elif len(request.prompt) + request.max_tokens > self._context:
            why = f"prompt and answer exceed the context of {self._context} tokens"
            self._tell(request.id, (), "failed", why)
        else:
            self._waiting.append(request)

    def cancel(self, id: str) -> None:
        waiting = deque(request for request in self._waiting if request.id != id)
        if len(waiting) < len(self._waiting) or self._running.pop(id, None) is not None:
            self._tell(id, (), "cancelled")
        self._waiting = waiting

    def poll(self, wait_s: float) -> list[Event]:
        while self._waiting and len(self._running) < self._callers:
            request = self._waiting.popleft()
            self._misbehave(request.prompt)
            self._running[request.id] = (request, 0)
        if self._running and self._habits.step_s:
            time.sleep(self._habits.step_s)
        for id, (request, at) in list(self._running.items()):
            token = _say(request, at)
            if token is None or token in request.stop:
                self._finish(id, (), "stop")
                continue
            logprobs = tuple(self.score(request.prompt[:at], (token,))) if request.logprobs else ()
            if at + 1 == request.max_tokens:
                self._finish(id, (token,), "length", logprobs)
            else:
                self._running[id] = (request, at + 1)
                self._tell(id, (token,), logprobs=logprobs)
        told, self._told = self._told, []
        return told

    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
        self._misbehave(prompt)
        before = [*(prompt[-1:] or (0,)), *answer[:-1]]
        return [-((last * 31 + token) % 100) / 10 for last, token in zip(before, answer, strict=True)]

    def memory_peak_gib(self) -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts KiB

    def close(self) -> None:
        self._waiting.clear()
        self._running.clear()

    def _misbehave(self, prompt: Sequence[int]) -> None:
        if self._habits.crash_on in prompt:
            print("echo was told to crash", flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        if self._habits.hang_on in prompt:
            # Exponential in one call that never lets go of the interpreter, as a library that is stuck.
            re.fullmatch("(a+)+b", "a" * 64)

    def _finish(
        self, id: str, tokens: tuple[int, ...], finish: Finish, logprobs: tuple[float, ...] = ()
    ) -> None:
        del self._running[id]
        self._tell(id, tokens, finish, logprobs=logprobs)

    def _tell(
        self,
        id: str,
        tokens: tuple[int, ...],
        finish: Finish | None = None,
        error: str = "",
        logprobs: tuple[float, ...] = (),
    ) -> None:
        self._told.append(Event(id, tokens, time.monotonic(), finish, error, logprobs))


def _say(request: Request, at: int) -> int | None:
    """The token at a place of the answer: the prompt's there, or one of the prompt's drawn by the seed."""
    if at >= len(request.prompt):
        return None
    if request.temperature == 0:
        return request.prompt[at]
    seed = secrets.randbits(32) if request.seed is None else request.seed
    return random.Random(seed * 1_000_003 + at).choice(request.prompt)
