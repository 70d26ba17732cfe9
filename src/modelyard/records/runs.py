"""Who runs what, since when: a row per running step with a heartbeat."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Row, insert, select, update

from ..errors import Busy
from .clock import age_s, now
from .ledger import Ledger
from .tables import run

BEAT_S = 5.0
LOST_S = 4 * BEAT_S  # a run on another host whose heart has been still for so long is taken for dead


@dataclass(frozen=True, slots=True)
class Run:
    """A step that somebody runs, or ran and did not end."""

    verb: str
    step: str
    key: str
    pid: int
    host: str
    started: str
    alive: bool


@contextmanager
def running(ledger: Ledger, verb: str, step: str, key: str) -> Iterator[None]:
    """Keep a `run` row with a heartbeat while the block runs."""
    id = secrets.token_hex(8)
    row = {"id": id, "verb": verb, "step": step, "key": key, "pid": os.getpid(), "host": socket.gethostname()}
    begun = now()
    with ledger.write() as connection:
        # The caller holds the key's work folder, so whoever else claims to run it was killed.
        lost = update(run).where(run.c.key == key, run.c.state == "running")
        connection.execute(lost.values(ended=begun, state="killed"))
        connection.execute(
            insert(run).values(**row, boot_id=boot_id(), started=begun, heartbeat=begun, state="running")
        )
    over = threading.Event()
    heart = threading.Thread(target=_beat, args=(ledger, id, over), daemon=True)
    heart.start()
    state = "failed"
    try:
        yield
        state = "done"
    finally:
        over.set()
        heart.join()
        with ledger.write() as connection:
            connection.execute(update(run).where(run.c.id == id).values(ended=now(), state=state))


def unfinished(ledger: Ledger) -> list[Run]:
    """Runs whose end was never written: still alive, or killed."""
    with ledger.write() as connection:
        rows = connection.execute(select(run).where(run.c.state == "running").order_by(run.c.started)).all()
    return [
        Run(row.verb, row.step, row.key, row.pid, row.host, row.started, alive=_alive(row)) for row in rows
    ]


def _beat(ledger: Ledger, id: str, over: threading.Event) -> None:
    while not over.wait(BEAT_S):
        try:
            with ledger.write() as connection:
                connection.execute(update(run).where(run.c.id == id).values(heartbeat=now()))
        except Busy:
            continue  # a missed beat is not the end; the next one tells


def _alive(row: Row[Any]) -> bool:
    if row.host != socket.gethostname():
        return age_s(row.heartbeat) < LOST_S
    if row.boot_id != boot_id():
        return False
    try:
        os.kill(row.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def boot_id() -> str:
    """Names this boot, so that a process id of an earlier one is not taken for a living one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""
