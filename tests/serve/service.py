"""A yard with a small release, and a gateway on it in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tests.servers import end
from tests.tiny import tiny_model

from modelyard import bill
from modelyard.bill import contracts, customers
from modelyard.index import Passage, build
from modelyard.project import load
from modelyard.records.clock import now, now_us
from modelyard.records.shapes import Record
from modelyard.records.store import manifest_digest
from modelyard.records.yard import Yard
from modelyard.release.files import write_sums
from modelyard.serve import keys

PROJECT = """\
version: 1
name: desk
data: {sources: [{path: docs, licence: CC0-1.0, owner: Nobody, basis: own}]}
prices: {currency: USD, plans: {starter: {monthly: 29, included_tokens: 100,
  per_million_input: 0.30, per_million_output: 1.20}}}
"""
PASSAGES = tuple(
    (f"{thing}.md", f"The {thing}", f"The {thing} costs {at} coins and its handle is white.")
    for at, thing in enumerate(("anvil", "ladder", "winch", "kettle", "trowel", "chisel", "pulley"), 7)
)
FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json", "base.json")


def make_yard(
    folder: Path,
    *,
    ground: bool = False,
    habits: Mapping[str, Any] | None = None,
    serve: str = "",
    answer_tokens: int = 24,
) -> Path:
    """A project with one release on the engine echo. `serve` is the project file's block."""
    folder.mkdir(parents=True)
    (folder / "docs").mkdir()
    (folder / "modelyard.yaml").write_text(PROJECT + (f"serve: {serve}\n" if serve else ""), "utf-8")
    add_release(folder, ground=ground, habits=habits, answer_tokens=answer_tokens)
    with Yard(folder / ".yard").ledger.write() as connection:
        bill.publish(connection, load(folder / "modelyard.yaml").prices, now_us())
    return folder


def add_release(
    folder: Path,
    *,
    ground: bool = False,
    habits: Mapping[str, Any] | None = None,
    answer_tokens: int = 24,
    attempt: int = 1,
) -> str:
    """Make a release in the folder's yard; returns its id."""
    made = folder / f"made-{attempt}"
    model = tiny_model(folder / f"model-{attempt}", 7)
    made.mkdir()
    for name in FILES:
        shutil.copy(model / name, made / name)
    shutil.rmtree(model)
    (made / "model.gguf").write_text("echo needs none")
    (made / "habits.json").write_text(json.dumps(habits or {}))
    if ground:
        build(made / "passages.db", [Passage(d, t, t, text, "CC0-1.0", "Nobody") for d, t, text in PASSAGES])
        (made / "index.json").write_text(json.dumps({"limit": 0.15}))
    told = {
        "project": "desk",
        "engine": "echo",
        "threads": 1,
        "ground": {"passages": 1} if ground else None,
        "answer_tokens_p99": answer_tokens,
        "max_answer_tokens": 64,
    }
    (made / "release.json").write_text(json.dumps(told))
    return put_release(folder, made, attempt)


def put_release(folder: Path, made: Path, attempt: int) -> str:
    """Make a release of the files in `made`, which are gone then; returns its id."""
    write_sums(made)
    yard = Yard(folder / ".yard")
    files = yard.store.take(made)
    shutil.rmtree(made)
    id = f"feedfacecafe{attempt:04}-{attempt}"
    record = Record(
        id=id,
        step="release.choose",
        key=f"key{attempt}",
        digest=manifest_digest(files),
        settings={},
        inputs={},
        facts={},
        choices=(),
        files=files,
        environment={},
        started=now(),
        ended=now(),
        seconds=0.1,
        attempt=attempt,
        view=lambda: yard.store.view(files),
    )
    yard.ledger.put(record)
    yard.ledger.close()
    return id


def make_key(folder: Path, customer: str = "acme", **limits: Any) -> str:
    """A key of a customer with the plan starter; returns its secret."""
    yard = Yard(folder / ".yard")
    with yard.ledger.write() as connection:
        customers.ensure(connection, customer, "USD", now_us())
        contracts.start(connection, customer, "starter", now_us())
        secret = keys.create(connection, customer, "customer", (), now_us(), **limits)[1]
    yard.ledger.close()
    return secret


@dataclass
class Service:
    """A running gateway."""

    folder: Path
    process: subprocess.Popen[str]
    url: str = ""
    said: list[str] = field(default_factory=list)

    @property
    def log(self) -> str:
        """What it has said so far."""
        return "".join(self.said)

    def client(self, key: str = "", **options: Any) -> httpx.Client:
        """An HTTP client that bears `key`."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, **options)

    def events(self) -> list[dict[str, Any]]:
        """Every usage event of the yard."""
        from sqlalchemy import select

        from modelyard.records.tables.service import usage_event

        return self.rows(select(usage_event).order_by(usage_event.c.seq))

    def rows(self, query: Any) -> list[dict[str, Any]]:
        """What the ledger answers now."""
        yard = Yard(self.folder / ".yard")
        with yard.ledger.read() as connection:
            found = [dict(row) for row in connection.execute(query).mappings()]
        yard.ledger.close()
        return found

    def engine_pid(self) -> int:
        """The engine's process."""
        import psutil

        for child in psutil.Process(self.process.pid).children():
            if "modelyard.engines.worker" in child.cmdline():
                return child.pid
        raise AssertionError("no engine runs")

    def stop(self, how: int = signal.SIGTERM) -> int:
        """End it; returns its exit code."""
        self.process.send_signal(how)
        return self.process.wait(30)


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Service]:
    """A gateway on the folder's yard, on a free port, until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "modelyard", "serve", "--port", "0", "--project", str(folder), *options],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    service = Service(folder, process)

    def listen() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            service.said.append(line)
            if "listening on " in line:
                service.url = line.split("listening on ")[1].strip()

    reader = threading.Thread(target=listen, daemon=True)
    reader.start()
    try:
        until = time.monotonic() + 60
        while not service.url and process.poll() is None:
            assert time.monotonic() < until, service.log
            time.sleep(0.02)
        if not service.url:
            reader.join(5)
        yield service
    finally:
        end(process)
        reader.join(5)
        if process.stderr is not None:
            process.stderr.close()


def ask(text: str, **more: Any) -> dict[str, Any]:
    """The body of a chat request."""
    return {"model": "desk", "messages": [{"role": "user", "content": text}], **more}
