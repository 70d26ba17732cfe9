"""`up` killed with -9 at random moments and started again ends as if nobody had."""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path

import pytest
from tests.line.conftest import Made
from tests.line.desk import up, write_desk

from modelyard.records import audit
from modelyard.records.digest import file_sha256
from modelyard.records.yard import Yard

# Every child is a fork of a process that has imported these and has computed nothing: it starts at once, and
# the threads that other tests have left behind in this process are not in it.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "modelyard.flow.line",
        "modelyard.optimize.convert",
        "modelyard.release.make",
        "modelyard.train.base",
        "modelyard.train.tune",
        "modelyard.verify.measure",
        "modelyard.verify.reference",
    ]
)
KILLS = 10
LONGEST_S = 3.0  # a child's life: a start, a few steps, or a piece of the tuning
SAME = ("data.prepare", "data.index", "train.base", "train.tune", "optimize.convert")


def test_a_yard_killed_ten_times_ends_byte_identical_with_one_release(desk: Made, tmp_path: Path) -> None:
    folder = write_desk(tmp_path / "desk")
    chance = random.Random(11)
    killed = 0
    for _ in range(KILLS):
        child = FORKS.Process(target=up, args=(folder,))
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
    for _ in range(40):
        child = FORKS.Process(target=up, args=(folder,))
        child.start()
        time.sleep(chance.uniform(0.02, 2.0))
        child.kill()
        child.join()
    walk, _ = up(folder)
    for step in SAME:
        mine = {done.record.digest for done in walk.done if done.node.step.name == step and done.record}
        assert mine == {record.digest for record in desk.records(step)}
