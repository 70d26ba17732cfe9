"""One tiny yard for all tests that only look at it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.line.desk import up, write_desk

from modelyard.flow import Walk
from modelyard.records.shapes import Record


@dataclass(frozen=True)
class Made:
    """A project after its first `up`."""

    folder: Path
    walk: Walk
    release: Record

    def records(self, step: str) -> list[Record]:
        return [done.record for done in self.walk.done if done.node.step.name == step and done.record]


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = write_desk(tmp_path_factory.mktemp("desk") / "desk")
    return Made(folder, *up(folder))
