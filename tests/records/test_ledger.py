import multiprocessing
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.errors import Busy, RecordError
from modelyard.records import audit
from modelyard.records.ledger import Ledger
from modelyard.records.runs import running, unfinished
from modelyard.records.shapes import Choice, Fact, FileEntry, Record
from modelyard.records.store import Store
from modelyard.records.tables import SCHEMA_VERSION
from modelyard.records.work import hold
from modelyard.records.yard import Yard


def made(key: str = "k" * 64, attempt: int = 1, inputs: dict[str, tuple[str, ...]] | None = None) -> Record:
    return Record(
        id=f"{key[:16]}-{attempt}",
        step="data.prepare",
        key=key,
        digest="d" * 64,
        settings={"seed": 1},
        inputs=inputs or {},
        facts={"data.documents": Fact(3, "documents"), "retrieval.hit": Fact(None, "share", why="no pairs")},
        choices=(Choice("precision", "bf16", "it was faster"),),
        files={"a.txt": FileEntry("e" * 64, 5)},
        environment={"machine": {"id": "m"}},
        started="2026-01-01T00:00:00.000Z",
        ended=f"2026-01-01T00:00:0{attempt}.000Z",
        seconds=1.5,
        attempt=attempt,
        view=Path,
    )


def test_a_record_reads_back_as_it_was_written(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    first = made("a" * 64)
    second = made("b" * 64, inputs={"corpus": (first.id,)})
    yard.ledger.put(first)
    yard.ledger.put(second)
    assert Yard(tmp_path).newest("a" * 64) == first
    assert Yard(tmp_path).newest("b" * 64) == second
    assert Yard(tmp_path).newest("c" * 64) is None


def test_the_newest_attempt_wins_and_all_are_kept(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    for attempt in (1, 2, 3):
        yard.ledger.put(made(attempt=attempt))
    newest = yard.newest("k" * 64)
    assert newest is not None
    assert newest.attempt == 3
    assert [record.attempt for record in yard.find(step="data.prepare")] == [3, 2, 1]


def test_an_unmeasured_fact_stays_unmeasured(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    yard.ledger.put(made())
    found = yard.newest("k" * 64)
    assert found is not None
    assert found.facts["retrieval.hit"] == Fact(None, "share", why="no pairs")
    assert found.fact("quality.task").value is None


def test_a_fact_without_value_must_say_why() -> None:
    with pytest.raises(ValueError, match="must say why"):
        Fact(None, "share")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_fact_is_never_infinite_or_no_number(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Fact(value, "share")


def test_a_yard_of_another_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "yard.db"
    Ledger(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE yard SET schema_version = ?", (SCHEMA_VERSION + 1,))
    with pytest.raises(RecordError, match=f"schema {SCHEMA_VERSION + 1}"):
        Ledger(path)


def test_a_damaged_ledger_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "yard.db"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(RecordError, match="damaged"):
        Ledger(path)


def test_a_ledger_whose_tables_were_never_made_is_made_whole(tmp_path: Path) -> None:
    (tmp_path / "yard.db").touch()
    ledger = Ledger(tmp_path / "yard.db")
    ledger.put(made())
    assert ledger.newest("k" * 64, Store(tmp_path)) is not None


@settings(max_examples=20)
@given(
    st.lists(
        st.tuples(st.sampled_from(["key.made", "price.published"]), st.text(max_size=20)),
        min_size=1,
        max_size=8,
    )
)
def test_an_untouched_audit_log_holds(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[str, str]]
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("yard") / "yard.db")
    with ledger.write() as connection:
        for action, subject in entries:
            audit.append(connection, action, subject, {"n": 1})
    with ledger.write() as connection:
        assert audit.verify(connection) == len(entries)
    ledger.close()


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE audit SET body = '{\"n\":2}' WHERE seq = 2",
        "UPDATE audit SET at = '2020' WHERE seq = 1",
        "DELETE FROM audit WHERE seq = 2",
        "DELETE FROM audit WHERE seq = 1",
        "UPDATE audit SET seq = 9 WHERE seq = 3",
        "UPDATE record SET digest = 'f'",
        "UPDATE record SET body = replace(body, '3', '4')",
        "DELETE FROM record WHERE attempt = 2",
        "DELETE FROM audit",
    ],
)
def test_a_touched_audit_log_is_caught(tmp_path: Path, harm: str) -> None:
    yard = Yard(tmp_path)
    for at in (1, 2, 3):
        yard.ledger.put(made(attempt=at))
    with sqlite3.connect(tmp_path / "yard.db") as connection:
        connection.execute(harm)
    with pytest.raises(RecordError), yard.ledger.write() as connection:
        audit.verify(connection)


def test_a_failed_transaction_leaves_neither_record_nor_audit_entry(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    yard.ledger.put(made())
    with pytest.raises(Exception, match="UNIQUE"):
        yard.ledger.put(made())
    with yard.ledger.write() as connection:
        assert audit.verify(connection) == 1


def _hold(root: Path, ready: object, over: object) -> None:
    with hold(root, "k" * 64, threads=1, progress=lambda line: None):
        ready.set()  # type: ignore[attr-defined]
        over.wait(30)  # type: ignore[attr-defined]


def test_a_work_folder_has_one_holder_and_frees_itself_when_that_is_killed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready, over = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, ready, over))
    other.start()
    assert ready.wait(30)
    with (
        pytest.raises(Busy, match=f"process {other.pid}"),
        hold(tmp_path, "k" * 64, threads=1, progress=print),
    ):
        pass
    other.kill()
    other.join()
    with hold(tmp_path, "k" * 64, threads=1, progress=print) as space:
        assert space.out.is_dir()


def test_state_survives_and_out_does_not(tmp_path: Path) -> None:
    with hold(tmp_path, "k" * 64, threads=1, progress=print) as space:
        (space.state / "checkpoint").write_text("7")
        (space.out / "half").write_text("x")
    with hold(tmp_path, "k" * 64, threads=1, progress=print) as space:
        assert (space.state / "checkpoint").read_text() == "7"
        assert not list(space.out.iterdir())


def test_a_run_is_seen_while_it_runs_and_not_after(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "yard.db")
    with running(ledger, "up", "train.tune", "k"):
        (run,) = unfinished(ledger)
        assert run.alive
        assert run.step == "train.tune"
    assert unfinished(ledger) == []


def test_a_killed_run_is_told_from_a_living_one(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "yard.db")
    child = multiprocessing.get_context("fork").Process(target=_die_running, args=(tmp_path / "yard.db",))
    child.start()
    child.join()
    (run,) = unfinished(ledger)
    assert not run.alive


def _die_running(path: Path) -> None:
    import os
    import signal

    with running(Ledger(path), "up", "train.tune", "k"):
        os.kill(os.getpid(), signal.SIGKILL)
