"""A tiny model, its candidates, and a corpus of pairs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.optimize import stage
from tests.optimize.stage import at_once
from tests.tiny import tiny_model
from tests.verify.stage import TEXT, pair, write_rows

__all__ = ["at_once"]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama of two layers with random weights."""
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def convert(model: Path, tmp_path_factory: pytest.TempPathFactory, at_once: None) -> Callable[..., Path]:
    """Makes a candidate's folder of the tiny model, or of another folder."""

    def make(kind: str, source: Path | None = None) -> Path:
        place = tmp_path_factory.mktemp("candidate")
        stage.convert(source or model, place, kind)
        return place / "out"

    return make


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pairs a split, a quarter of them unanswerable, and six about things in no document."""
    folder = tmp_path_factory.mktemp("corpus")
    write_rows(
        folder / "documents.jsonl",
        [
            {
                "id": f"d{at}",
                "source": "s",
                "title": f"House {at}",
                "text": TEXT.format(at, at + 1, at + 2) * 4,
            }
            | {"licence": "CC0-1.0", "owner": "nobody"}
            for at in range(12)
        ],
    )
    for split in ("train", "select", "report"):
        write_rows(folder / f"pairs.{split}.jsonl", [pair(split, at) for at in range(46)])
    source = {"path": "s", "licence": "CC0-1.0", "owner": "nobody", "basis": "public_domain"}
    (folder / "sources.json").write_text(json.dumps({"sources": [source]}), "utf-8")
    return folder
