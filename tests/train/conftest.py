"""A tiny base, a tiny corpus, and a workspace: what the training room's tests stand on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.tiny import tiny_model
from tests.train.stage import write_corpus

from modelyard.records.shapes import FileEntry, SourceFiles, Workspace


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random Llama."""
    return tiny_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 40 pairs to tune on."""
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    folder = tmp_path / "work"
    (folder / "out").mkdir(parents=True)
    (folder / "state").mkdir()
    return Workspace(folder, 1, lambda *_, **__: None)


@pytest.fixture
def source() -> Callable[[Path], SourceFiles]:
    """The files of a folder as flow hands them to train.base."""

    def make(folder: Path) -> SourceFiles:
        files = {path.name: FileEntry("", path.stat().st_size) for path in folder.iterdir() if path.is_file()}
        return SourceFiles("base", folder, files)

    return make
