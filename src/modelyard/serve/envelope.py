"""Around every request: an id, a header that tells it, a count, and no word of what went wrong inside."""

from __future__ import annotations

import time
import traceback
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .asking import new_id
from .metrics import Metrics
from .story import Story


class Envelope:
    """ASGI middleware. `known` are the routes that a metric may name."""

    def __init__(self, app: ASGIApp, metrics: Metrics, story: Story, known: frozenset[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._story = story
        self._known = known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        id = new_id()
        state = scope.setdefault("state", {})
        state["request_id"], state["arrived"] = id, time.monotonic()
        status = 0

        async def tell(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, tell)
        except Exception as error:  # noqa: BLE001 (its text may quote a prompt: only its kind and place are told)
            kind, place = type(error).__name__, _place(error)
            self._story("{id} failed: {kind} at {place}", id=id, kind=kind, place=place)
        finally:
            path = scope["path"] if scope["path"] in self._known else "other"
            self._metrics.requests.labels(path, str(status)).inc()


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
