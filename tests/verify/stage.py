"""Records around folders, pairs, and an engine that is told what to say."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from modelyard.engines.protocol import Event, Finish, Request
from modelyard.records.shapes import Fact, Record, Workspace

TEXT = "The cat of house {} sleeps on roof {} and the dog waits at the door of garden {} until noon. "


def record(id: str, folder: Path, facts: Mapping[str, Fact] | None = None) -> Record:
    """A record whose files are those of `folder`."""
    return Record(id, "step", id, id, {}, {}, facts or {}, (), {}, {}, "", "", 0.0, 1, view=lambda: folder)


def workspace(folder: Path) -> Workspace:
    """A workspace in `folder` that tells nobody of its progress."""
    for name in ("out", "state"):
        (folder / name).mkdir(parents=True)
    return Workspace(folder, 2, lambda *_, **__: None)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def pair(split: str, at: int) -> dict[str, Any]:
    """The pair number `at`: 0 to 29 answerable, to 39 not, to 45 about absent things."""
    answer = f"roof {at + 1}" if at < 30 else "NOT STATED"
    return {
        "id": f"{split}-{at}",
        "group": f"g{at % 8}",
        "kind": "where",
        "question": f"Where does the cat of house {at} sleep?",
        "document": f"d{at % 12}" if at < 40 else None,
        "passage": TEXT.format(at, at + 1, at + 2) if at < 40 else None,
        "answer": answer,
        "absent": at >= 40,
        "messages": None,
    }


class Scripted:
    """An engine that answers what it is told to, at once; it ends only where a stop token is given."""

    name = "scripted"
    gives: frozenset[str] = frozenset({"prompt_logprobs"})

    def __init__(
        self, say: Callable[[Request], Sequence[int]], score: Callable[..., list[float]] | None = None
    ) -> None:
        self.say = say
        self.asked: list[Request] = []
        self.closed = False
        self._score = score
        self._events: list[Event] = []

    def submit(self, request: Request) -> None:
        self.asked.append(request)
        if not request.stop:
            made = tuple([5] * request.max_tokens)
            self._events.append(Event(request.id, made[:1], time.monotonic()))
            self._events.append(Event(request.id, made[1:], time.monotonic() + 1e-3, "length"))
            return
        words = tuple(self.say(request))
        cut = words[: request.max_tokens]
        finish: Finish = "stop" if len(words) < request.max_tokens else "length"
        self._events.append(Event(request.id, cut, time.monotonic(), finish))

    def cancel(self, id: str) -> None:
        self._events.append(Event(id, (), time.monotonic(), "cancelled"))

    def poll(self, wait_s: float) -> list[Event]:
        told, self._events = self._events, []
        return told

    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
        return self._score(prompt, answer) if self._score else [-1.0] * len(answer)

    def memory_peak_gib(self) -> float:
        return 0.25

    def close(self) -> None:
        self.closed = True
