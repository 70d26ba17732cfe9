"""A larger model to ask: a real HTTP server on this machine that answers as OpenAI's does, well or badly."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


@dataclass(frozen=True)
class Said:
    """A response: a body as JSON or as it is, after a wait."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    wait_s: float = 0.0


Body = dict[str, Any]
Habit = Callable[[Body, int], Said]


def answer(text: str | None, finish: str = "stop", model: str = "big-model-0613", **message: Any) -> Said:
    """A chat completion."""
    choice = {
        "index": 0,
        "finish_reason": finish,
        "message": {"role": "assistant", "content": text, **message},
    }
    usage = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
    told = {"id": "x", "object": "chat.completion", "model": model, "choices": [choice], "usage": usage}
    return Said(told | {"system_fingerprint": "fp_1"})


def refusal(status: int, message: str = "no", headers: Mapping[str, str] | None = None, **error: Any) -> Said:
    """An error in OpenAI's form."""
    return Said({"error": {"message": message, **error}}, status, headers or {})


def question(body: Body) -> str:
    """What was asked last."""
    return str(body["messages"][-1]["content"])


def by_heart(body: Body, n: int) -> Said:
    """A good teacher."""
    return answer(f"It is {len(question(body))}.")


class Teacher:
    """What was asked of it, and how it behaves: `habit` is told the body and how many came before."""

    def __init__(self) -> None:
        self.habit: Habit = by_heart
        self.asked: list[Body] = []
        self.keys: list[str | None] = []
        self.paths: list[str] = []
        self.times: list[float] = []
        self.url = ""

    @property
    def questions(self) -> list[str]:
        return [question(body) for body in self.asked]

    async def respond(self, request: Request) -> Response:
        body = json.loads(await request.body())
        n = len(self.asked)
        self.asked.append(body)
        self.keys.append(request.headers.get("authorization"))
        self.paths.append(request.url.path)
        self.times.append(time.monotonic())
        said = self.habit(body, n)
        await asyncio.sleep(said.wait_s)
        content = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
        return Response(content, said.status, dict(said.headers), "application/json")


@contextmanager
def teaching() -> Iterator[Teacher]:
    """A teacher on a free port until the block ends."""
    teacher = Teacher()
    app = Starlette(routes=[Route("/{path:path}", teacher.respond, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    teacher.url = f"http://127.0.0.1:{port}/v1"
    try:
        yield teacher
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)
