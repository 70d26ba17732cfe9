"""Tune in forked children, kill them at many moments, and compare what the last leaves with a quiet run.

A process of its own: torch is imported once and runs nothing before the fork, for its threads end there.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

# ruff: noqa: E402, I001
sys.path[:0] = [str(Path(__file__).parents[2] / "src"), str(Path(__file__).parents[2])]

import peft  # noqa: F401
import torch  # noqa: F401
import transformers  # noqa: F401
from modelyard.records.shapes import Workspace
from modelyard.train import checkpoint, tune
from modelyard.train.settings import TuneSettings
from tests.train.stage import TRAIN, inputs

STEPS_BETWEEN_KILLS = 3


def child(base: Path, corpus: Path, folder: Path, threads: int) -> int:
    """Start one run in a fork; its process id."""
    pid = os.fork()
    if pid:
        return pid
    checkpoint.EVERY_S = 0.0  # after each step
    batch = {"batch_tokens": 1024} if threads > 1 else {}
    asked = TuneSettings.model_validate({"train": TRAIN | {"budget": {"tokens": 9000}} | batch})
    (folder / "out").mkdir(parents=True, exist_ok=True)
    (folder / "state").mkdir(exist_ok=True)
    tune.run(asked, inputs(corpus, base), Workspace(folder, threads, lambda *_, **__: None))
    os._exit(0)


def steps(folder: Path) -> int:
    try:
        with (folder / "state" / checkpoint.NAME).open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        return int(header["__metadata__"]["step"])
    except FileNotFoundError:
        return 0


def main() -> None:
    base, corpus, place = map(Path, sys.argv[1:4])
    threads = int(sys.argv[4])
    quiet, hit = place / "quiet", place / "hit"
    _, status = os.waitpid(child(base, corpus, quiet, threads), 0)
    if status:
        sys.exit(1)
    killed = resumed = 0
    while True:
        before = steps(hit)
        resumed += before > 0
        pid = child(base, corpus, hit, threads)
        ended = 0
        while not ended:
            if killed < 4 and steps(hit) >= before + STEPS_BETWEEN_KILLS * (killed > 0):
                time.sleep(0.3 if not killed else 0.003 * killed)  # before any step; then inside one
                os.kill(pid, signal.SIGKILL)
                killed += 1
                os.waitpid(pid, 0)
                break
            ended, status = os.waitpid(pid, os.WNOHANG)
            time.sleep(0.001)
        if ended:
            if status:
                sys.exit(1)
            break
    names = sorted(path.relative_to(quiet) for path in (quiet / "out").rglob("*") if path.is_file())
    different = [str(name) for name in names if (quiet / name).read_bytes() != (hit / name).read_bytes()]
    print(json.dumps({"killed": killed, "resumed": resumed, "different": different}))


if __name__ == "__main__":
    main()
