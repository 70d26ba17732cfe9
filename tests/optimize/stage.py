"""A workspace and a model record for the tests of this room."""

from __future__ import annotations

from pathlib import Path

from modelyard.optimize.convert import run
from modelyard.optimize.settings import FILE_KINDS, ConvertSettings
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


GGUF_TYPES = tuple(kind.removeprefix("gguf ") for kind in FILE_KINDS if kind.startswith("gguf "))


def convert(model: Path, into: Path, kind: str) -> Output:
    """Run the step for a GGUF of this type; its files are in `into`/out."""
    for name in ("out", "state"):
        (into / name).mkdir(parents=True)
    workspace = Workspace(into, 1, lambda text, **numbers: None)
    settings = ConvertSettings.model_validate({"file": f"gguf {kind}"})
    return run(settings, Inputs({"model": (record(model),)}), workspace)
