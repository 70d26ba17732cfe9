"""`up` killed with -9 at random moments and started again ends as if nobody had."""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path

import pytest
from tests.line.conftest import Made
from tests.line.desk import up, write_desk

# Imported here so that every child, a fork of this process, starts at once.
import modelyard.optimize.convert
import modelyard.release.make
import modelyard.train.base
import modelyard.train.tune
import modelyard.verify.measure
import modelyard.verify.reference  # noqa: F401
from modelyard.records import audit
from modelyard.records.digest import file_sha256
from modelyard.records.yard import Yard

KILLS = 10
LONGEST_S = 3.0  # a child's life: a start, a few steps, or a piece of the tuning
SAME = ("data.prepare", "data.index", "train.base", "train.tune", "optimize.convert")


def test_a_yard_killed_ten_times_ends_byte_identical_with_one_release(desk: Made, tmp_path: Path) -> None:
    folder = write_desk(tmp_path / "desk")
    chance = random.Random(11)
    context = multiprocessing.get_context("fork")
    killed = 0
    for _ in range(KILLS):
        child = context.Process(target=up, args=(folder,))
        child.start()
        time.sleep(chance.uniform(0.05, LONGEST_S))
        child.kill()
        child.join()
        killed += child.exitcode == -9
    assert killed == KILLS
    walk, release = up(folder)

    def digests(walk_: object) -> dict[str, set[str]]:
        return {
            step: {d.record.digest for d in walk_.done if d.node.step.name == step and d.record}  # type: ignore[attr-defined]
            for step in SAME
        }

    assert digests(walk) == digests(desk.walk)
    yard = Yard(folder / ".yard")
    assert [record.id for record in yard.find(step="release.choose")] == [release.id]
    assert all(file_sha256(yard.store.path(sha256)) == sha256 for sha256 in yard.store.contents())
    assert not list((folder / ".yard" / "work").iterdir())
    with yard.ledger.write() as connection:
        audit.verify(connection)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_a_yard_killed_forty_times_ends_byte_identical(desk: Made, tmp_path: Path, seed: int) -> None:
    folder = write_desk(tmp_path / "desk")
    chance = random.Random(seed)
    context = multiprocessing.get_context("fork")
    for _ in range(40):
        child = context.Process(target=up, args=(folder,))
        child.start()
        time.sleep(chance.uniform(0.02, 2.0))
        child.kill()
        child.join()
    walk, _ = up(folder)
    for step in SAME:
        mine = {done.record.digest for done in walk.done if done.node.step.name == step and done.record}
        assert mine == {record.digest for record in desk.records(step)}
