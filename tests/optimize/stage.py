"""A workspace and a model record for the tests of this room."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from modelyard.errors import EngineError
from modelyard.optimize import child
from modelyard.optimize.convert import run
from modelyard.optimize.settings import FILE_KINDS, ConvertSettings, FileKind
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


@pytest.fixture(scope="session")
def at_once() -> Iterator[None]:
    """The converters' libraries run in this process: each takes seconds to load, and is loaded once."""

    def run(module: str, arguments: Sequence[str]) -> None:
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", [module, *arguments])
                runpy.run_module(module, run_name="__main__")
        except Exception as error:
            raise EngineError(str(error)) from error

    with pytest.MonkeyPatch.context() as patch:
        for name, value in child.QUIET.items():
            patch.setenv(name, value)
        patch.setattr(child, "run", run)
        yield


FOLDERS: tuple[FileKind, ...] = (
    "onnx fp32",
    "onnx int8",
    "onnx int4",
    "openvino int8",
    "openvino int4",
    "safetensors F32",
    "safetensors BF16",
)
LITERT: tuple[FileKind, ...] = ("litert fp32", "litert int8")  # made in an environment of their own
GGUF_TYPES = tuple(kind.removeprefix("gguf ") for kind in FILE_KINDS if kind.startswith("gguf "))


def convert(model: Path, into: Path, kind: str) -> Output:
    """Run the step for this kind of file, or a GGUF of this type; its files are in `into`/out."""
    for name in ("out", "state"):
        (into / name).mkdir(parents=True)
    workspace = Workspace(into, 1, lambda text, **numbers: None)
    settings = ConvertSettings.model_validate({"file": kind if " " in kind else f"gguf {kind}"})
    return run(settings, Inputs({"model": (record(model),)}), workspace)
