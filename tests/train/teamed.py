"""One of two processes that torchrun's variables tell of each other: the first tunes, the other follows.

RANK=0 WORLD_SIZE=2 … python tests/train/teamed.py BASE CORPUS FOLDER [dies]
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

# ruff: noqa: E402, I001
sys.path[:0] = [str(Path(__file__).parents[2] / "src"), str(Path(__file__).parents[2])]

from modelyard.errors import ModelyardError
from modelyard.records.shapes import Workspace
from modelyard.train import loop, tune
from modelyard.train.parallel.team import team
from modelyard.train.settings import TuneSettings
from tests.train.stage import TRAIN, inputs

right = loop.update


def dying(run: loop.Run, adamw: Any, number: int, *rest: Any) -> float:
    """As update, until the fourth step."""
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return right(run, adamw, number, *rest)


def main() -> None:
    base, corpus, folder = map(Path, sys.argv[1:4])
    if "dies" in sys.argv and os.environ["RANK"] == "1":
        loop.update = dying
    asked = TuneSettings.model_validate(
        {"train": TRAIN | {"budget": {"tokens": 3000}, "parallel": {"shard": 2}}}
    )
    try:
        with team() as first:
            if first:
                output = tune.run(asked, inputs(corpus, base), Workspace(folder, 2, lambda *_, **__: None))
                print({choice.name: choice.value for choice in output.choices}["train.parallel"])
    except ModelyardError as error:
        print(type(error).__name__, error.what)
        sys.exit(1)


if __name__ == "__main__":
    main()
