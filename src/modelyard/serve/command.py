"""The service as a process: one for a yard, at an address, until it is told to stop."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from ..errors import Busy, ProjectError
from ..records.yard import Yard
from .app import build
from .gateway import Gateway
from .settings import Serve
from .story import Story

BACKLOG = 2048
KEEP_ALIVE_S = 30
LAST_S = 5.0  # after the drain: for replies to reach their clients


def serve(yard: Yard, settings: Serve, *, host: str, port: int, story: Story) -> None:
    """Serve the yard's release at `host` and `port` (0: a free one) until SIGTERM or SIGINT.

    Raises Busy for a taken address or a second gateway on the yard, and what keeps the release from being
    served.
    """
    _keep_quiet()
    with _alone(yard.root), _listening(host, port) as link:
        uvloop.run(_serve(yard, settings, link, story))


async def _serve(yard: Yard, settings: Serve, link: socket.socket, story: Story) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: story("unexpected: {kind}", kind=_kind(context)))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    gateway = Gateway(yard, settings, story)
    try:
        starting = asyncio.create_task(gateway.start())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            return
        starting.result()
        server = _Server(
            uvicorn.Config(
                build(gateway),
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=int(LAST_S),
            )
        )
        running = asyncio.create_task(server.serve([link]))
        host, port = link.getsockname()[:2]
        story("listening on {url}", url=f"http://{f'[{host}]' if ':' in host else host}:{port}")
        await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
        story("stopping: requests under way are answered first")
        await gateway.drain()
        server.should_exit = True
        await running
    finally:
        await gateway.close()
    story("stopped")


class _Server(uvicorn.Server):
    """Signals are ours: the requests under way come first."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Hold the yard's gateway lock; the kernel lets go of it when this process ends, however it ends."""
    path = root / "gateway.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
            raise Busy(
                f"another gateway serves this yard (process {other}), and SQLite bears only one",
                where=str(path),
                try_="stop the other one, or use PostgreSQL",
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket at the address. Raises Busy when it is taken, ProjectError when it is none of ours."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError):
        raise ProjectError(f"{host!r} is no address", try_="--host 127.0.0.1") from None
    link = socket.socket(family, kind, protocol)
    try:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            link.bind(address)
            link.listen(BACKLOG)
        except OSError as error:
            raise Busy(
                f"{host}:{port} cannot be listened on: {error.strerror}",
                try_="another --port, or stop what listens there",
            ) from None
        yield link
    finally:
        link.close()


def _keep_quiet() -> None:
    """No core dump, for it holds prompts; no library's log of what went wrong; room for many connections."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name in ("uvicorn", "uvicorn.error", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _kind(context: dict[str, Any]) -> str:
    """What asyncio could not hand to anybody: its kind, never its text."""
    error = context.get("exception")
    return type(error).__name__ if error else "?"
