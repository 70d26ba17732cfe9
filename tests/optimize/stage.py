"""A workspace and a model record for the tests of this room."""

from __future__ import annotations

from pathlib import Path

from modelyard.optimize.convert import run
from modelyard.optimize.settings import ConvertSettings, GgufType
from modelyard.records.shapes import Inputs, Output, Record, Workspace


def record(folder: Path) -> Record:
    """A record whose files lie in `folder`."""
    return Record(
        id="m",
        step="train.base",
        key="k",
        digest="d" * 64,
        settings={},
        inputs={},
        facts={},
        choices=(),
        files={},
        environment={},
        started="",
        ended="",
        seconds=0.0,
        attempt=1,
        view=lambda: folder,
    )


def convert(model: Path, into: Path, kind: GgufType) -> Output:
    """Run the step; its files are in `into`/out."""
    for name in ("out", "state"):
        (into / name).mkdir(parents=True)
    workspace = Workspace(into, 1, lambda text, **numbers: None)
    return run(ConvertSettings(gguf=kind), Inputs({"model": (record(model),)}), workspace)
