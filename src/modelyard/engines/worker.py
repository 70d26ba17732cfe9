"""The engine's own process: `python -m modelyard.engines.worker`. Requests in, events out, over one socket.

It ends when its parent does: the socket's end is noticed by a thread, and a pipe's end by the kernel,
which then sends SIGIO, so that even a process stuck inside an engine's library goes.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import queue
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from ..errors import ModelyardError
from .frames import Frames
from .protocol import Engine, Event, Request

HOW = ("temperature", "top_p", "seed", "logprobs", "schema")  # fields of a request that may be absent
WAIT_S = 0.005  # a new request waits at most this long while others are under way


def main(link: int, alive: int) -> None:
    """Serve the parent at the socket `link` until it says close; die with it (`alive`, a pipe's read end)."""
    die_with_parent(alive)
    frames = Frames(socket.socket(fileno=link))
    inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(frames, inbox), daemon=True).start()
    order = inbox.get()
    try:
        engine = load(order)
    except ModelyardError as error:
        frames.send({"error": _told(error)})
        return
    memory = engine.memory_peak_gib() is not None
    frames.send({"ready": {"gives": sorted(engine.gives), "memory": memory}})
    serve(engine, frames, inbox)


def die_with_parent(alive: int) -> None:
    """Have the kernel end this process when the last writer of the pipe is gone.

    PR_SET_PDEATHSIG would follow the thread that started us, which may end while the parent lives on.
    """
    fcntl.fcntl(alive, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(alive, fcntl.F_GETFL)
    fcntl.fcntl(alive, fcntl.F_SETFL, flags | os.O_ASYNC | os.O_NONBLOCK)  # SIGIO ends a process by default
    try:
        gone = os.read(alive, 1) == b""  # the parent may have died before the line above
    except BlockingIOError:
        gone = False
    if gone:
        os._exit(1)


def load(order: dict[str, Any]) -> Engine:
    """The engine that the parent's first message asks for."""
    module = importlib.import_module(order["module"])
    engine: Engine = module.start(Path(order["model"]), **order["options"])
    return engine


def serve(engine: Engine, frames: Frames, inbox: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Pass requests to the engine and its events back, until told to close."""
    active: set[str] = set()
    while True:
        messages = [] if active else [inbox.get()]
        while not inbox.empty():
            messages.append(inbox.get())
        for message in messages:
            if message["do"] == "close":
                engine.close()
                return
            _handle(engine, frames, message, active)
        events = engine.poll(WAIT_S if active else 0.0)
        if events:
            active -= {event.id for event in events if event.finish}
            frames.send({"events": [_event(event) for event in events]})


def _handle(engine: Engine, frames: Frames, message: dict[str, Any], active: set[str]) -> None:
    if message["do"] == "submit":
        active.add(message["id"])
        prompt, stop = tuple(message["prompt"]), tuple(message["stop"])
        how = {name: message[name] for name in HOW if name in message}
        engine.submit(Request(message["id"], prompt, message["max_tokens"], stop, **how))
    elif message["do"] == "cancel":
        engine.cancel(message["id"])
    elif message["do"] == "score":
        try:
            frames.send({"score": engine.score(message["prompt"], message["answer"])})
        except ModelyardError as error:
            frames.send({"error": _told(error)})


def _read(frames: Frames, inbox: queue.SimpleQueue[dict[str, Any]]) -> None:
    while (messages := frames.receive()) is not None:
        for message in messages:
            inbox.put(message)
    os._exit(0)  # the parent is gone: nobody wants what the engine is doing


def _event(event: Event) -> list[Any]:
    return [event.id, event.tokens, event.at, event.finish, event.error, event.logprobs]


def _told(error: ModelyardError) -> dict[str, str]:
    return {"type": type(error).__name__, "what": error.what, "where": error.where, "try": error.try_}


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
