"""A reply as server-sent events, and a reply that notices when its client goes away."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .refusals import reply
from .shape import Shape
from .turn import Turn

COALESCE_S = 0.02  # text that comes within this time goes out as one event
STALLED_S = 60.0  # a client that takes nothing for so long counts as gone
DONE = b"data: [DONE]\n\n"


async def plain(turn: Turn, shape: Shape, receive: Receive, headers: Mapping[str, str]) -> Response:
    """The whole reply, once the event is committed. Raises Refusal when there is no answer."""
    watch = asyncio.create_task(_watch(turn, receive))
    try:
        refusal = await asyncio.shield(turn.settled)
    finally:
        watch.cancel()
    if refusal is not None:
        raise refusal
    return reply(shape.whole(turn), headers=headers)


class EventStream(Response):
    """The answer as it grows; its end is sent only after the event is committed."""

    media_type = "text/event-stream"

    def __init__(self, turn: Turn, shape: Shape, headers: Mapping[str, str]) -> None:
        super().__init__(headers={**headers, "cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._turn = turn
        self._shape = shape
        self._text = 0
        self._pieces = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. The client's going away stops the engine, and what was written is billed."""
        turn = self._turn
        watch = asyncio.create_task(_watch(turn, receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._follow(send)
        except (TimeoutError, OSError):
            pass  # stalled or gone: told to the turn below
        finally:
            turn.leave()
            watch.cancel()

    async def _follow(self, send: Send) -> None:
        turn, answer = self._turn, self._turn.answer
        opening = self._shape.opening(turn)
        if opening is not None:
            await self._send(send, _event(opening))
        sent = 0.0
        while not answer.done.done():
            await answer.news()
            early = COALESCE_S - (time.monotonic() - sent)
            if early > 0 and not answer.done.done():
                with suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(answer.done), early)
            if await self._new(send):
                sent = time.monotonic()
        refusal = await asyncio.shield(turn.settled)
        if turn.gone:
            return
        if refusal is not None:
            await self._send(send, _event(refusal.body()), end=True)
            return
        rest = self._rest()
        end = [_event(self._shape.closing(turn))]
        if turn.wanted.include_usage:
            end.append(_event(self._shape.counted(turn)))
        await self._send(send, b"".join([*rest, *end, DONE]), end=True)

    async def _new(self, send: Send) -> bool:
        """Send what is new while the answer grows; its last part waits for the commit."""
        if self._turn.answer.done.done():
            return False
        found = self._rest()
        for chunk in found:
            await self._send(send, chunk)
        return bool(found)

    def _rest(self) -> list[bytes]:
        answer = self._turn.answer
        text, pieces = answer.text[self._text :], answer.pieces[self._pieces :]
        self._text, self._pieces = len(answer.text), len(answer.pieces)
        if not text and not pieces:
            return []
        return [_event(self._shape.delta(self._turn, text, pieces))]

    async def _send(self, send: Send, data: bytes, *, end: bool = False) -> None:
        began = time.monotonic()
        message = {"type": "http.response.body", "body": data, "more_body": not end}
        await asyncio.wait_for(send(message), STALLED_S)
        self._turn.client_s += time.monotonic() - began


def _event(body: dict[str, Any]) -> bytes:
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return b"data: " + text.encode() + b"\n\n"


async def _watch(turn: Turn, receive: Receive) -> None:
    """Tell the turn when its client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    turn.leave()
