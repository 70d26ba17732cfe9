"""One tiny model and its files for all tests of the engines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.optimize import stage
from tests.optimize.stage import at_once
from tests.tiny import tiny_model

from modelyard.engines import missing
from modelyard.optimize import architecture, gguf_write, vocabulary, weights

__all__ = ["at_once"]


def convert(folder: Path, path: Path, kind: str) -> Path:
    """Write a model's folder as a GGUF file."""
    shape = architecture.read(json.loads((folder / "config.json").read_text("utf-8")))
    words = vocabulary.read(folder, shape.vocabulary)
    tensors = weights.Weights(folder)
    gguf_write.write(path, kind, shape, words, tensors, name="tiny", tell=lambda done, total: None)
    return path


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny model."""
    return tiny_model(tmp_path_factory.mktemp("tiny") / "model", 7)


@pytest.fixture(scope="session")
def files(model: Path) -> dict[str, Path]:
    """Its GGUF files by type."""
    return {kind: convert(model, model.parent / f"{kind}.gguf", kind) for kind in gguf_write.TYPES}


@pytest.fixture(scope="session")
def folders(model: Path, at_once: None) -> dict[str, Path]:
    """The folders of its other formats, by kind."""
    kinds = stage.FOLDERS if missing("litert") else (*stage.FOLDERS, *stage.LITERT)
    for kind in kinds:
        stage.convert(model, model.parent / kind, kind)
    return {kind: model.parent / kind / "out" / "model" for kind in kinds}
