"""An answer as it grows: tokens become text, a stop text ends it, whoever waits is woken."""

from __future__ import annotations

import asyncio
import time
from typing import Literal

from ..engines import Event
from ..prompt import Prompter, Words
from .worker import Worker

Finish = Literal["stop", "length", "cancelled", "failed"]


class Answer:
    """Listens to a request's events. All in the event loop's thread.

    `bare`: white space around the answer is left out, as `try` and the measurements do.
    """

    def __init__(
        self, id: str, prompter: Prompter, *, stop: tuple[str, ...] = (), bare: bool = False
    ) -> None:
        self.id = id
        self.text = ""
        """All of it that is certain: it never shrinks, and no stop text is in it."""
        self.tokens = 0
        """Tokens written, up to the one that completed a stop text; what comes after is not billed."""
        self.pieces: list[tuple[int, float]] = []
        """Each token with its log-probability (nats), where the engine tells it."""
        self.finish: Finish | None = None
        self.why = ""
        self.first_at: float | None = None
        self.last_at = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """The engine has ended with it."""
        self._words = Words(prompter)
        self._stop = stop
        self._longest = max(map(len, stop), default=0)
        self._bare = bare
        self._held = ""  # text that may yet turn out to be part of a stop text, or white space at the end
        self._news = asyncio.Event()
        self._worker: Worker | None = None
        self._stopped: Finish | None = None

    def under(self, worker: Worker) -> None:
        """Say which engine writes it."""
        self._worker = worker

    def cancel(self, finish: Finish = "cancelled") -> None:
        """Have the engine stop; the answer ends with `finish` and what was written until then."""
        if self._stopped is None and not self.done.done():
            self._stopped = finish
            if self._worker is not None:
                self._worker.cancel(self.id)

    def take(self, event: Event) -> None:
        """An event of the engine."""
        if self.finish is not None:
            return
        counted = self._stopped in (None, "cancelled", "length")  # after a stop text nothing counts
        if event.tokens and counted:
            now = time.monotonic()
            self.first_at = self.first_at or now
            self.last_at = now
            self._write(event)
        if event.finish:
            self._end(event)
        self._news.set()

    def say(self, text: str) -> None:
        """The whole answer, made without an engine: no token of it counts."""
        self.text, self.finish = text, "stop"
        self.done.set_result(None)
        self._news.set()

    async def news(self, most_s: float | None = None) -> None:
        """Wait until something changed since the last call."""
        if most_s is None:
            await self._news.wait()
        else:
            try:
                await asyncio.wait_for(self._news.wait(), most_s)
            except TimeoutError:
                return
        self._news.clear()

    def _write(self, event: Event) -> None:
        if not self._stop:
            self.tokens += len(event.tokens)
            self.pieces += zip(event.tokens, event.logprobs, strict=False)
            self._say(self._words.feed(event.tokens))
            return
        for at, token in enumerate(event.tokens):
            self.tokens += 1
            self.pieces += zip((token,), event.logprobs[at : at + 1], strict=False)
            if self._say(self._words.feed((token,))):
                self.cancel("stop")
                return

    def _say(self, new: str) -> bool:
        """Take in new text; true when it completed a stop text."""
        if not new:
            return False
        held = self._held + new
        found = [at for at in map(held.find, self._stop) if at >= 0]
        if found:
            self._show(held[: min(found)], keep=0)
            self._held = ""
            return True
        self._show(held, keep=_overlap(held, self._stop, self._longest))
        return False

    def _show(self, text: str, *, keep: int) -> None:
        """Make text certain, but for its last `keep` characters."""
        if self._bare:
            if not self.text:
                stripped = text.lstrip()
                text = stripped if stripped else ""
            keep = max(keep, len(text) - len(text.rstrip()))
        keep = min(keep, len(text))
        self.text += text[: len(text) - keep]
        self._held = text[len(text) - keep :]

    def _end(self, event: Event) -> None:
        if self._stopped != "stop":
            stopped = self._say(self._words.rest()) if self._stopped is None else False
            rest = "" if stopped else self._held
            self.text += rest.rstrip() if self._bare else rest
            self._held = ""
            self._stopped = self._stopped or ("stop" if stopped else None)
        if event.finish == "failed":
            self.finish, self.why = "failed", event.error
        else:
            self.finish = self._stopped or event.finish
        self.done.set_result(None)


def _overlap(text: str, stops: tuple[str, ...], longest: int) -> int:
    """How many characters at the end of `text` may be the beginning of a stop text."""
    for keep in range(min(longest - 1, len(text)), 0, -1):
        tail = text[len(text) - keep :]
        if any(stop.startswith(tail) for stop in stops):
            return keep
    return 0
