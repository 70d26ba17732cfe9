"""An engine's process may crash, hang or lose its parent; nobody else suffers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from modelyard.engines import Request, complete, start
from modelyard.engines.process import QUIET, EngineProcess
from modelyard.errors import EngineCrashed, EngineError, EngineHung

SECRET = 123456789


def echo(tmp_path: Path, *, callers: int = 2, limit_s: float = 30.0, **habits: Any) -> EngineProcess:
    path = tmp_path / "habits.json"
    path.write_text(json.dumps(habits), "utf-8")
    engine = start("echo", path, threads=1, callers=callers, context_tokens=10_000, limit_s=limit_s)
    assert isinstance(engine, EngineProcess)
    return engine


def test_completions_come_in_the_order_asked_with_their_times(tmp_path: Path) -> None:
    engine = echo(tmp_path, step_s=0.002)
    asked = [Request(str(at), tuple(range(at + 1)), 100, (99,)) for at in range(7)]
    told = complete(engine, asked, callers=3, limit_s=10)
    assert [one.tokens for one in told] == [request.prompt for request in asked]
    assert all(one.first is not None and one.submitted <= one.first <= one.last for one in told)
    assert engine.memory_peak_gib() > 0.005
    engine.close()


def test_a_crash_tells_the_signal_and_the_last_words_but_no_prompt(tmp_path: Path) -> None:
    engine = echo(tmp_path, crash_on=7)
    with pytest.raises(EngineCrashed) as caught:
        complete(engine, [Request("a", (SECRET, 7), 5)], callers=1, limit_s=30)
    assert "SIGSEGV" in str(caught.value)
    assert "echo was told to crash" in str(caught.value)
    assert str(SECRET) not in str(caught.value)
    with pytest.raises(EngineCrashed):
        engine.submit(Request("b", (1,), 1))
    engine.close()


@pytest.mark.parametrize("how", ["answer", "score"])
def test_a_hanging_engine_is_killed_after_its_limit(tmp_path: Path, how: str) -> None:
    engine = echo(tmp_path, hang_on=7, limit_s=1.0)
    began = time.monotonic()
    asked = [Request("a", (7,), 5)]
    ask = {
        "answer": lambda: complete(engine, asked, callers=1, limit_s=30),
        "score": lambda: engine.score((7,), (1,)),
    }[how]
    with pytest.raises(EngineHung, match="silent for 1 s"):
        ask()
    assert time.monotonic() - began < 10
    assert not psutil.pid_exists(engine.pid)
    engine.close()


def test_silence_without_work_is_no_hang(tmp_path: Path) -> None:
    engine = echo(tmp_path, limit_s=0.3)
    complete(engine, [Request("a", (1,), 5)], callers=1, limit_s=30)
    time.sleep(0.5)
    assert engine.poll(0.01) == []
    assert complete(engine, [Request("b", (1, 2), 5)], callers=1, limit_s=30)[0].tokens == (1, 2)
    engine.close()


def test_a_request_that_fails_leaves_the_others(tmp_path: Path) -> None:
    engine = echo(tmp_path, fail_on=7)
    good, bad = complete(engine, [Request("a", (1,), 5), Request("b", (7,), 5)], callers=2, limit_s=30)
    assert (good.finish, bad.finish, bad.error) == ("stop", "failed", "the engine was told to fail")
    engine.close()


def test_close_ends_a_process_that_no_longer_listens(tmp_path: Path) -> None:
    engine = echo(tmp_path, hang_on=7)
    engine.submit(Request("a", (7,), 5))
    time.sleep(0.2)
    began = time.monotonic()
    engine.close()
    assert time.monotonic() - began < 5
    assert not psutil.pid_exists(engine.pid)
    engine.close()


def test_an_error_while_loading_comes_back_as_itself(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="habits"):
        echo(tmp_path, no_such_habit=1)


def test_the_child_is_kept_offline(tmp_path: Path) -> None:
    engine = echo(tmp_path)
    environment = psutil.Process(engine.pid).environ()
    assert QUIET.items() <= environment.items()
    assert environment["OMP_NUM_THREADS"] == "1"
    engine.close()


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "stuck"])
def test_the_child_dies_with_a_parent_that_is_killed(tmp_path: Path, busy: bool) -> None:
    habits = tmp_path / "habits.json"
    habits.write_text('{"hang_on": 7}', "utf-8")
    code = (
        "import time; from pathlib import Path; from modelyard.engines import start, Request\n"
        f"e = start('echo', Path({str(habits)!r}), threads=1, callers=1)\n"
        f"e.submit(Request('a', (7,), 1)) if {busy} else None\n"
        "time.sleep(0.3); print(e.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    until = time.monotonic() + 10
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, "the engine outlived its parent"
        time.sleep(0.05)
