"""Sources written to a temporary folder and the two steps of the data room run on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.data.steps import Index, Made, Prepare, fingerprint, workspace

from modelyard.data import Fields, IndexSettings, PrepareSettings, Source
from modelyard.data import index as index_step
from modelyard.data import prepare as prepare_step
from modelyard.records.shapes import Inputs, Record, SourceFiles

NO_FIELDS = Fields()


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    """prepare(files, fields=..., **settings): run data.prepare on one source or on {path: files}."""
    runs = 0

    def run(files: Any, fields: Fields = NO_FIELDS, **settings: Any) -> Made:
        nonlocal runs
        runs += 1
        base = tmp_path / f"run{runs}"
        several = any(isinstance(value, dict) for value in files.values())
        made: list[SourceFiles] = []
        sources: list[Source] = []
        for path, inside in (files if several else {"docs": files}).items():
            root = base / path
            root.mkdir(parents=True)
            for name, content in inside.items():
                target = root / name
                target.parent.mkdir(parents=True, exist_ok=True)
                if isinstance(content, list):
                    content = "".join(json.dumps(row) + "\n" for row in content)
                target.write_bytes(content if isinstance(content, bytes) else content.encode())
            made.append(fingerprint(path, root))
            licence, owner = settings.get("licence", "MIT"), settings.get("owner", "Nobody Inc")
            sources.append(Source(path=path, licence=licence, owner=owner, basis="own", fields=fields))
        told = {name: value for name, value in settings.items() if name not in ("licence", "owner")}
        space = workspace(base / "work")
        output = prepare_step.run(
            PrepareSettings(sources=tuple(sources), **told), Inputs(sources=tuple(made)), space
        )
        return Made(output, space.out)

    return run


@pytest.fixture
def index(tmp_path: Path) -> Index:
    """index(corpus, **settings): run data.index on what `prepare` made."""
    runs = 0

    def run(corpus: Made, **settings: Any) -> Made:
        nonlocal runs
        runs += 1
        record = Record(
            id="r", step="data.prepare", key="", digest="", settings={}, inputs={}, facts=corpus.output.facts,
            choices=(), files={}, environment={}, started="", ended="", seconds=0.0, attempt=1,
            view=lambda: corpus.folder,
        )  # fmt: skip
        space = workspace(tmp_path / f"index{runs}")
        output = index_step.run(IndexSettings(**settings), Inputs(records={"corpus": (record,)}), space)
        return Made(output, space.out)

    return run
