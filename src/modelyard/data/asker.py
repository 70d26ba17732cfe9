"""Asking until there is an answer, and no longer than asking helps.

What may pass (429, 5xx, a lost connection, a late answer) is asked again, later each time, or after as long
as the endpoint says. A question that it cannot answer is dropped; an endpoint that answers none ends
the step, and what was answered by then is kept.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence

from ..errors import SourceError
from .endpoint import Again, Endpoint, Rejected, Reply
from .items import Drop

TRIES = 6  # at one question
LATE_TRIES = 2  # each may take the whole timeout_s
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0  # before the next try; doubled each time
LONGEST_ASKED_WAIT_S = 300.0  # who says "in an hour" is asked again by the next `up`
IN_A_ROW = 5  # questions that fail; then it is not for the questions


class Asker:
    """Asks an endpoint for several callers at a time, who wait together when it asks to be left alone."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._failed = 0  # questions in a row
        self._not_before = 0.0  # on the monotonic clock

    async def ask(self, messages: Sequence[Mapping[str, str]], sample: int = 0) -> Reply:
        """The model's answer. Raises Drop for a question without one, SourceError when none will get one."""
        tries = 0
        while True:
            await asyncio.sleep(self._not_before - time.monotonic())
            try:
                reply = await self._endpoint.ask(messages, sample)
            except Again as again:
                tries += again.kind != "renamed"
                if self._is_no_use(again, tries):
                    raise self._end(again) from None
                await self._pause(again, tries)
            except Rejected as rejected:
                raise self._end_all(rejected) or rejected from None
            else:
                self._failed = 0
                return reply

    def _is_no_use(self, again: Again, tries: int) -> bool:
        if not self._endpoint.seen and again.kind in ("unreachable", "garbled"):
            return True  # a wrong URL, most likely
        if again.wait_s is not None and again.wait_s > LONGEST_ASKED_WAIT_S:
            return True
        return tries >= (LATE_TRIES if again.kind == "late" else TRIES)

    async def _pause(self, again: Again, tries: int) -> None:
        if again.wait_s is not None:
            self._not_before = max(self._not_before, time.monotonic() + again.wait_s)
            return
        longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (tries - 1))
        # Callers that failed together come back apart.
        await asyncio.sleep(longest * random.uniform(0.5, 1.0))

    def _end(self, again: Again) -> Exception:
        """The question is dropped, or the step ends."""
        self._failed += 1
        host, where = self._endpoint.answers.host, self._endpoint.where
        its_fault = not self._endpoint.seen or self._failed >= IN_A_ROW
        if again.kind == "unreachable":
            return SourceError(
                f"{host} cannot be reached: {again.said}",
                where=where,
                try_="start its server, or mend the URL; then `modelyard up`: what was answered is kept",
            )
        if again.kind == "busy" or (again.wait_s or 0) > LONGEST_ASKED_WAIT_S:
            return SourceError(
                f"{host} has no time: {again.said}",
                where=where,
                try_=f"`modelyard up` in {_minutes(again.wait_s)}: what was answered is kept",
            )
        if again.kind == "late":
            if not its_fault:
                return Drop("answer_late", again.detail)
            return SourceError(
                f"{host} gave no answer in {again.detail}",
                where=where,
                try_="a longer timeout_s, fewer max_tokens, or a smaller at_once",
            )
        if again.kind == "garbled":
            if not its_fault:
                return Drop("answer_garbled", again.detail)
            return SourceError(
                f"{host} answers with something that is no chat completion",
                where=where,
                try_="the URL of an OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1",
            )
        if not its_fault:
            return Drop("answer_failed", again.detail)
        return SourceError(
            f"{host} fails at the questions: {again.said}",
            where=where,
            try_="look at its log; then `modelyard up`: what was answered is kept",
        )

    def _end_all(self, rejected: Rejected) -> SourceError | None:
        """An error once every question so far was rejected: it is the settings that are wrong."""
        self._failed += 1
        if self._endpoint.seen or self._failed < IN_A_ROW:
            return None
        return SourceError(
            f"{self._endpoint.answers.host} takes none of the questions: {rejected.said}",
            where=self._endpoint.where,
            try_="mend the setting of `answers` that it names",
        )


def _minutes(wait_s: float | None) -> str:
    return f"{(wait_s or 60) / 60:.0f} min"
