"""work/<key>/: the folder of a running step. It survives a kill and has one holder at a time."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import Busy
from .files import enough_room
from .shapes import Workspace

Progress = Callable[[dict[str, Any]], None]


@contextmanager
def hold(root: Path, key: str, *, threads: int, progress: Progress) -> Iterator[Workspace]:
    """Hold work/<key>/ while the block runs; `out` is empty at its start, `state` as it was left.

    The lock is the kernel's, so it ends with the process, however that ends. Raises Busy when
    another process holds the folder.
    """
    folder = root / "work" / key[:32]
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / "lock").open("a+")
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise Busy(
                f"process {lock.read().strip() or 'unknown'} is making this already",
                where=str(folder),
                try_="wait for it, or end it; then `modelyard up` goes on from its last checkpoint",
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        with enough_room(folder):
            shutil.rmtree(folder / "out", ignore_errors=True)
            (folder / "out").mkdir()
            (folder / "state").mkdir(exist_ok=True)
            yield Workspace(folder, threads, _reporter(folder / "progress.jsonl", progress))
    finally:
        lock.close()


@contextmanager
def whole_yard(root: Path, *, alone: bool) -> Iterator[None]:
    """Hold the yard: with others who make records, or alone to drop some. Raises Busy when that cannot be."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            other = "`modelyard up`" if alone else "`modelyard sweep`"
            raise Busy(
                f"{other} is at work in this yard", where=str(root), try_="wait for it to end"
            ) from None
        yield


def clear(root: Path, key: str) -> None:
    """Remove work/<key>/ once its record is written."""
    shutil.rmtree(root / "work" / key[:32], ignore_errors=True)


def _reporter(path: Path, progress: Progress) -> Callable[..., None]:
    def report(text: str, **numbers: Any) -> None:
        line = {"at": round(time.time(), 3), "text": text, **numbers}
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
        progress(line)

    return report
