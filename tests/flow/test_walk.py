import multiprocessing
import sqlite3
from pathlib import Path

import pytest
from tests.flow import fakes
from tests.flow.fakes import COUNT, FAIL, JOIN, OVERWRITE, REFUSE, WRITE, Told, calls

from modelyard.errors import NoRoom, Refused, SourceError
from modelyard.flow.node import Line, Node
from modelyard.flow.sources import fingerprint
from modelyard.flow.walk import Stale, Walk
from modelyard.records.shapes import FileEntry, Record, SourceFiles, Step
from modelyard.records.yard import Yard


@pytest.fixture(autouse=True)
def _fresh() -> None:
    calls.clear()


def two_and_one(first: str = "a", second: str = "b", by: str = "+") -> Line[Record]:
    parts = yield (Node(WRITE, Told(text=first)), Node(WRITE, Told(text=second)))
    (joined,) = yield (Node(JOIN, Told(text=by), {"parts": parts}),)
    return joined


def walk(root: Path, line: Line[Record], **options: object) -> tuple[Walk, Record | None]:
    walk = Walk(Yard(root), threads=1, **options)  # type: ignore[arg-type]
    return walk, walk.follow(line)


def test_a_line_makes_its_records_and_the_second_time_keeps_them(tmp_path: Path) -> None:
    first, record = walk(tmp_path, two_and_one())
    assert record is not None
    assert (record.folder / "text").read_text() == "a+b"
    assert [done.state for done in first.done] == ["ran", "ran", "ran"]
    calls.clear()
    second, again = walk(tmp_path, two_and_one())
    assert again == record
    assert [done.state for done in second.done] == ["kept", "kept", "kept"]
    assert calls == []


def test_a_changed_setting_makes_its_step_and_what_follows(tmp_path: Path) -> None:
    walk(tmp_path, two_and_one("a", "b"))
    calls.clear()
    walk(tmp_path, two_and_one("a", "c"))
    assert calls == ["c", "join"]


def test_an_input_with_the_same_bytes_keeps_what_follows(tmp_path: Path) -> None:
    walk(tmp_path, two_and_one())
    calls.clear()
    again, _ = walk(tmp_path, two_and_one(), again="fake.write")
    assert calls == ["a", "b"]
    assert [done.state for done in again.done] == ["ran", "ran", "kept"]
    assert [record.attempt for record in Yard(tmp_path).find(step="fake.write")].count(2) == 2


def test_a_walk_stops_after_the_named_step(tmp_path: Path) -> None:
    _, record = walk(tmp_path, two_and_one(), to="fake.write")
    assert record is None
    assert calls == ["a", "b"]


def test_a_walk_that_only_looks_runs_nothing(tmp_path: Path) -> None:
    with pytest.raises(Stale, match=r"fake\.write"):
        walk(tmp_path, two_and_one(), may_run=lambda node: False)
    assert calls == []


def test_a_failed_step_leaves_no_record_and_no_half_written_file(tmp_path: Path) -> None:
    def failing() -> Line[Record]:
        (record,) = yield (Node(FAIL, Told()),)
        return record

    with pytest.raises(SourceError, match="it fails"):
        walk(tmp_path, failing())
    yard = Yard(tmp_path)
    assert yard.find() == []
    assert list(yard.store.contents()) == []


def test_a_refused_step_is_told_as_refused(tmp_path: Path) -> None:
    def refusing() -> Line[Record]:
        (record,) = yield (Node(REFUSE, Told()),)
        return record

    looked = Walk(Yard(tmp_path), threads=1)
    with pytest.raises(Refused):
        looked.follow(refusing())
    assert [done.state for done in looked.done] == ["refused"]


def counting(text: str) -> Line[Record]:
    (record,) = yield (Node(COUNT, Told(text=text)),)
    return record


def test_a_killed_step_goes_on_from_its_state(tmp_path: Path) -> None:
    child = multiprocessing.get_context("fork").Process(target=walk, args=(tmp_path, counting("die")))
    child.start()
    child.join(60)
    assert child.exitcode == -9
    assert Yard(tmp_path).find() == []
    _, record = walk(tmp_path, counting("die"))
    assert record is not None
    assert (record.folder / "text").read_text() == "3 before"
    assert calls == ["3", "4"]
    assert not list((tmp_path / "work").iterdir())


def test_a_key_knows_step_version_settings_inputs_sources_and_machine(tmp_path: Path) -> None:
    _, record = walk(tmp_path, two_and_one())
    assert record is not None
    source = SourceFiles("docs", Path("/anywhere"), {"a": FileEntry("1" * 64, 1)})
    moved = SourceFiles("docs", Path("/elsewhere"), {"a": FileEntry("1" * 64, 1)})
    changed = SourceFiles("docs", Path("/anywhere"), {"a": FileEntry("2" * 64, 1)})
    plain = Node(WRITE, Told(text="a"))
    others = [
        Node(Step("fake.write", 2, WRITE.entry), Told(text="a")),
        Node(JOIN, Told(text="a")),
        Node(WRITE, Told(text="b")),
        Node(WRITE, Told(text="a"), {"parts": (record,)}),
        Node(WRITE, Told(text="a"), sources=(source,)),
        Node(WRITE, Told(text="a"), sources=(changed,)),
        Node(WRITE, Told(text="a"), measured_with={"machine": "m"}),
    ]
    assert len({node.key for node in [plain, *others]}) == len(others) + 1
    assert Node(WRITE, Told(), sources=(source,)).key == Node(WRITE, Told(), sources=(moved,)).key


def test_a_record_says_where_and_with_what_it_was_made(tmp_path: Path) -> None:
    _, record = walk(tmp_path, two_and_one())
    assert record is not None
    assert record.environment["machine"]["cores"] >= 1
    assert record.environment["modelyard"]
    assert set(record.inputs) == {"parts"}


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        ValueError("while writing: No space left on device (os error 28)"),
    ],
)
def test_a_disk_that_fills_is_told_by_whoever_notices_and_leaves_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(fakes, "write", full)
    with pytest.raises(NoRoom, match="disk is full"):
        walk(tmp_path, two_and_one())
    assert Yard(tmp_path).find() == []


def test_a_record_is_in_the_ledger_only_when_its_files_are_in_the_store(tmp_path: Path) -> None:
    walk(tmp_path, two_and_one())
    yard = Yard(tmp_path)
    for record in yard.find():
        for entry in record.files.values():
            assert yard.store.path(entry.sha256).stat().st_size == entry.size
    with sqlite3.connect(tmp_path / "yard.db") as connection:
        assert connection.execute("SELECT count(*) FROM audit").fetchone() == (3,)


def test_a_source_that_changes_while_it_is_read_makes_no_record(tmp_path: Path) -> None:
    source = tmp_path / "source.txt"
    source.write_text("before")
    yard = Yard(tmp_path / "yard")
    files = fingerprint(yard, "source.txt", source)

    def line() -> Line[Record]:
        (record,) = yield (Node(OVERWRITE, Told(text=str(source)), sources=(files,)),)
        return record

    with pytest.raises(SourceError, match=r"source\.txt was written while fake\.overwrite read it"):
        Walk(yard, threads=1).follow(line())
    assert yard.find() == []
