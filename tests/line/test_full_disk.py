"""A disk that fills during `up`: a clear error, nothing half-written, and the next `up` goes on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.line.desk import up, write_desk

from modelyard.errors import NoRoom
from modelyard.records.digest import file_sha256
from modelyard.records.yard import Yard


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs that holds the project and the first records, but not the whole yard."""
    place = tmp_path / "small"
    place.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2500k", "tmpfs", place]).returncode
    ):
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_is_told_and_more_room_lets_up_go_on(small_disk: Path) -> None:
    folder = write_desk(small_disk / "desk")
    with pytest.raises(NoRoom) as error:
        up(folder)
    assert error.value.try_
    yard = Yard(folder / ".yard")
    for record in yard.find():
        assert all(
            yard.store.path(entry.sha256).stat().st_size == entry.size for entry in record.files.values()
        )
    assert all(file_sha256(yard.store.path(sha256)) == sha256 for sha256 in yard.store.contents())
    subprocess.run(["mount", "-o", "remount,size=60m", small_disk], check=True)
    walk, release = up(folder)
    assert release.files
    assert any(done.state == "kept" for done in walk.done)
