"""Tune in forked children, kill them at many moments, and compare what the last leaves with a quiet run.

A process of its own: torch is imported once and runs nothing before the fork, for its threads end there.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from pathlib import Path
from random import Random

# ruff: noqa: E402, I001
sys.path[:0] = [str(Path(__file__).parents[2] / "src"), str(Path(__file__).parents[2])]

import peft  # noqa: F401
import torch  # noqa: F401
import transformers  # noqa: F401
from modelyard.records.shapes import Workspace
from modelyard.train import checkpoint, tune
from modelyard.train.settings import TuneSettings
from tests.train.stage import TRAIN, inputs

METHODS = {
    "lora": {},
    "full": {"method": {"full": {}}, "learning_rate": 2e-3},
    "preference": {"preference": {}, "learning_rate": 5e-3, "sequence_tokens": 1024},
    "fp16": {"precision": "fp16"},
    "example": {"method": {"lora": {"rank": 16}}, "learning_rate": 2e-3, "sequence_tokens": 512},
}


def child(base: Path, corpus: Path, folder: Path, threads: int, method: str) -> int:
    """Start one run in a fork; its process id."""
    pid = os.fork()
    if pid:
        return pid
    checkpoint.EVERY_S, checkpoint.COST_SHARE = 0.0, math.inf  # after each step
    more = METHODS[method] | ({"batch_tokens": 1024} if threads > 1 else {})
    asked = TuneSettings.model_validate({"train": TRAIN | {"budget": {"tokens": 9000}} | more})
    (folder / "out").mkdir(parents=True, exist_ok=True)
    (folder / "state").mkdir(exist_ok=True)
    tune.run(asked, inputs(corpus, base), Workspace(folder, threads, lambda *_, **__: None))
    os._exit(0)


def steps(folder: Path) -> int:
    """The step of the checkpoint in a run's folder."""
    try:
        with (folder / "state" / checkpoint.NAME).open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        return int(header["__metadata__"]["step"])
    except FileNotFoundError:
        return 0


def main() -> None:
    base, corpus, place = map(Path, sys.argv[1:4])
    threads, kills, method = int(sys.argv[4]), int(sys.argv[5]), sys.argv[6]
    quiet = place / "quiet"
    begun = time.perf_counter()
    ended(child(base, corpus, quiet, threads, method), math.inf)
    whole = time.perf_counter() - begun
    random = Random(f"{method}/{threads}")
    killed = resumed = run = 0
    different = []
    while killed < kills:
        run += 1
        hit = place / f"hit{run}"
        while True:
            resumed += steps(hit) > 0
            pid = child(base, corpus, hit, threads, method)
            if killed == kills:
                moment = math.inf
            elif killed % 2:  # after a step of its own, for a slow start may take most of a run
                learned(pid, hit)
                moment = random.uniform(0, whole / 10)
            else:
                moment = random.uniform(0, whole)
            if ended(pid, moment):
                break
            killed += 1
        names = sorted(path.relative_to(quiet) for path in (quiet / "out").rglob("*") if path.is_file())
        different += [str(one) for one in names if (quiet / one).read_bytes() != (hit / one).read_bytes()]
    print(json.dumps({"killed": killed, "resumed": resumed, "runs": run, "different": different}))


def learned(pid: int, folder: Path) -> None:
    """Wait until a child has written a checkpoint, or ended; it stays to be waited for."""
    before = steps(folder)
    while steps(folder) == before and not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        time.sleep(0.001)


def ended(pid: int, moment: float) -> bool:
    """Wait for a child to end by itself, or kill it after `moment` seconds; whether it ended."""
    until = time.perf_counter() + moment
    while time.perf_counter() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            if status:
                sys.exit(1)
            return True
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


if __name__ == "__main__":
    main()
