"""What every engine is: the one seam between Modelyard and whatever runs a model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Finish = Literal["stop", "length", "cancelled", "failed"]

# Prompt-lookup decoding: where the last two tokens stand in the prompt, the ten that follow there are
# proposed. On pydesk, int8, two cores with VNNI: 64 answers in 9.1 s alone and 5.9 s at 8 callers, against
# 14.4 and 7.6 s without; 3 tokens matched or 5 proposed gave less, 16 no more.
PROPOSED, MATCHED = 10, 2


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt of token ids and when to stop: at a token of `stop`, or after `max_tokens`.

    Greedy unless `temperature` is above 0. What an engine does not give (see `Engine.gives`) is not asked of
    it: the caller looks first.
    """

    id: str
    prompt: tuple[int, ...]
    max_tokens: int
    stop: tuple[int, ...] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    """What drawing starts from, 0 to 2**32 - 1; None draws differently each time."""
    logprobs: bool = False
    """Whether events carry the log-probability of each token written."""
    schema: str | None = None
    """A JSON schema, as text, that the answer is held to."""


@dataclass(frozen=True, slots=True)
class Event:
    """New tokens of a request (a stop token is not among them); `finish` comes with the last.

    `at` is time.monotonic() in seconds when the engine had them; on Linux all processes share it.
    """

    id: str
    tokens: tuple[int, ...]
    at: float
    finish: Finish | None = None
    error: str = ""
    logprobs: tuple[float, ...] = ()
    """Log-probability (nats) of each of `tokens`; empty unless the request asked for it."""


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished request; times are time.monotonic() seconds. `first` is the first token's."""

    id: str
    tokens: tuple[int, ...]
    finish: Finish
    submitted: float
    first: float | None
    last: float
    error: str = ""


class Engine(Protocol):
    """A loaded model. Not thread-safe: one thread submits and polls."""

    name: str
    gives: frozenset[str]
    """What it can give; the menu says what each word means."""

    def submit(self, request: Request) -> None:
        """Take a request; its events come from `poll`."""

    def cancel(self, id: str) -> None:
        """Stop a request; its last event has finish "cancelled"."""

    def poll(self, wait_s: float) -> list[Event]:
        """Events since the last poll, after at most `wait_s` seconds of waiting."""

    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
        """Log-probability (nats) of each answer token given all before it, len(answer) of them."""

    def memory_peak_gib(self) -> float | None:
        """Largest resident memory of the process that runs the model so far; None where it is not ours."""

    def close(self) -> None:
        """Free the model and end its process."""


def complete(
    engine: Engine, requests: Sequence[Request], *, callers: int, limit_s: float
) -> list[Completion]:
    """Ask all requests with `callers` of them under way at once; completions in the order asked.

    Raises EngineHung when no event comes for `limit_s` seconds.
    """
    from ..errors import EngineHung

    waiting = list(reversed(requests))
    tokens: dict[str, list[int]] = {}
    submitted: dict[str, float] = {}
    first: dict[str, float] = {}
    done: dict[str, Completion] = {}
    heard = time.monotonic()
    while waiting or len(done) < len(requests):
        while waiting and len(submitted) - len(done) < callers:
            request = waiting.pop()
            tokens[request.id] = []
            submitted[request.id] = time.monotonic()
            engine.submit(request)
        for event in engine.poll(1.0):
            heard = event.at
            tokens[event.id] += event.tokens
            if event.tokens:
                first.setdefault(event.id, event.at)
            if event.finish:
                done[event.id] = Completion(
                    event.id,
                    tuple(tokens[event.id]),
                    event.finish,
                    submitted[event.id],
                    first.get(event.id),
                    event.at,
                    event.error,
                )
        if time.monotonic() - heard > limit_s:
            raise EngineHung(
                f"{engine.name} has been silent for {limit_s:g} s", try_="another engine, or fewer callers"
            )
    return [done[request.id] for request in requests]
