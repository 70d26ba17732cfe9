"""Servers as processes of their own, for tests and benches: started, waited for, ended."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager


@contextmanager
def started(
    command: Sequence[str], ready: str, more: Mapping[str, str] | None = None
) -> Iterator[tuple[str, int]]:
    """A server, once it says that it is ready: what the pattern caught, and its process id.

    Raises RuntimeError, with its last words, when it ends before.
    """
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **(more or {})},
    )
    assert child.stdout is not None
    said: list[str] = []
    try:
        for line in child.stdout:
            said.append(line)
            if found := re.search(ready, line):
                break
        else:
            raise RuntimeError(f"{command[0]} ended: {''.join(said)[-2000:]}")
        threading.Thread(target=child.stdout.read, daemon=True).start()
        yield found[1].rstrip("/"), child.pid
    finally:
        end(child)


def end(child: subprocess.Popen[str]) -> None:
    """Ask a process to end, and kill it when it has not in half a minute."""
    child.terminate()
    try:
        child.wait(30)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def port() -> int:
    """A free port of the loopback address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
