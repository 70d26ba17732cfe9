"""A backup stands in the place of what it was made of, or says that it does not."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select

from modelyard.errors import ProjectError, RecordError
from modelyard.records import audit
from modelyard.records.backup import MANIFEST, backup, restore
from modelyard.records.tables.service import secret
from modelyard.records.yard import Yard

KEPT = Path(__file__).parent.parent / "yards" / "line"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a yard of an earlier release."""
    folder = Path(shutil.copytree(KEPT, tmp_path / "project"))
    (folder / "yard").rename(folder / ".yard")
    Yard(folder / ".yard").ledger.close()
    return folder


def copied(project: Path, to: Path) -> Path:
    backup(project / "modelyard.yaml", project / ".yard", to)
    return to


def test_a_restored_yard_holds_every_record_and_every_byte(project: Path, tmp_path: Path) -> None:
    told = restore(copied(project, tmp_path / "copy"), tmp_path / "new")
    was, now = Yard(project / ".yard"), Yard(tmp_path / "new" / ".yard")
    assert now.find() == was.find()
    assert len(now.find()) > 10
    for record in now.find():
        record.view()  # hash-checks every file
    assert sorted(now.store.contents()) == sorted(was.store.contents())
    assert told.contents == len(list(was.store.contents()))
    assert (tmp_path / "new" / "modelyard.yaml").read_bytes() == (project / "modelyard.yaml").read_bytes()
    with now.ledger.read() as connection:
        assert audit.verify(connection) >= 20


def test_a_backup_is_of_one_moment_while_others_write(project: Path, tmp_path: Path) -> None:
    yard, over = Yard(project / ".yard"), threading.Event()

    def write() -> None:
        at = 0
        while not over.is_set():
            with yard.ledger.write() as connection:  # two rows at a time: never one of them alone
                connection.execute(insert(secret).values(name=f"a{at}", value="x"))
                connection.execute(insert(secret).values(name=f"b{at}", value="x"))
            at += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for at in range(3):
            copied(project, tmp_path / f"copy-{at}")
    finally:
        over.set()
        thread.join()
    for at in range(3):
        restore(tmp_path / f"copy-{at}", tmp_path / f"new-{at}")
        with Yard(tmp_path / f"new-{at}" / ".yard").ledger.read() as connection:
            assert connection.execute(select(func.count()).select_from(secret)).scalar_one() % 2 == 0


def test_only_an_empty_folder_is_written_to(project: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    with pytest.raises(ProjectError, match="not empty"):
        copied(project, tmp_path / "full")
    copy = copied(project, tmp_path / "copy")
    for into in (tmp_path / "full", project):
        with pytest.raises(ProjectError, match="not empty"):
            restore(copy, into)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]


@pytest.mark.parametrize("harm", ["a content", "the ledger", "the project file", "a missing content"])
def test_a_damaged_backup_is_not_restored(project: Path, tmp_path: Path, harm: str) -> None:
    copy = copied(project, tmp_path / "copy")
    content = next(path for path in sorted((copy / "store").glob("*/*")))
    hurt = {"the ledger": copy / "yard.db", "the project file": copy / "modelyard.yaml"}.get(harm, content)
    if harm == "a missing content":
        hurt.unlink()
    else:
        hurt.chmod(0o644)
        hurt.write_bytes(hurt.read_bytes()[:-1] + b"?")
    with pytest.raises(RecordError, match="not what it was"):
        restore(copy, tmp_path / "new")
    assert not (tmp_path / "new" / ".yard").exists()


def test_a_damaged_store_is_not_backed_up_as_if_it_were_whole(project: Path, tmp_path: Path) -> None:
    content = next(path for path in sorted((project / ".yard" / "store").glob("*/*")))
    content.chmod(0o644)
    content.write_bytes(b"other")
    with pytest.raises(RecordError, match="not what it was"):
        copied(project, tmp_path / "copy")
    with pytest.raises(ProjectError, match="no whole backup"):
        restore(tmp_path / "copy", tmp_path / "new")


def test_half_a_backup_is_none(project: Path, tmp_path: Path) -> None:
    copy = copied(project, tmp_path / "copy")
    (copy / MANIFEST).unlink()
    with pytest.raises(ProjectError, match="no whole backup"):
        restore(copy, tmp_path / "new")


def test_a_backup_of_a_newer_release_is_refused(project: Path, tmp_path: Path) -> None:
    copy = copied(project, tmp_path / "copy")
    told = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps({**told, "schema_version": 99}))
    with pytest.raises(RecordError, match="newer"):
        restore(copy, tmp_path / "new")


def test_a_restore_that_was_killed_is_done_again(project: Path, tmp_path: Path) -> None:
    copy = copied(project, tmp_path / "copy")
    (tmp_path / "new" / ".yard.part" / "store").mkdir(parents=True)
    (tmp_path / "new" / "modelyard.yaml").write_text("half")
    restore(copy, tmp_path / "new")
    assert Yard(tmp_path / "new" / ".yard").find()


def test_a_folder_with_a_project_file_of_ones_own_is_not_overwritten(project: Path, tmp_path: Path) -> None:
    copy = copied(project, tmp_path / "copy")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "modelyard.yaml").write_text("mine")
    with pytest.raises(ProjectError, match="not empty"):
        restore(copy, tmp_path / "new")
    assert (tmp_path / "new" / "modelyard.yaml").read_text() == "mine"
