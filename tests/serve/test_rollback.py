"""Which release is served, as releases are made and put back."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import select
from tests.serve.service import add_release, make_yard

from modelyard.cli.main import modelyard
from modelyard.errors import ProjectError
from modelyard.records.clock import now_us
from modelyard.records.tables import audit
from modelyard.records.tables.service import serving
from modelyard.records.yard import Yard
from modelyard.serve import rollback


def run(folder: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(modelyard, ["release", "roll-back", *words, "--project", str(folder)])
    return done.exit_code, done.output


def test_the_newest_of_what_was_made_and_what_was_put_back_is_served(tmp_path: Path) -> None:
    folder = make_yard(tmp_path / "desk")
    ledger = Yard(folder / ".yard").ledger

    def served() -> str | None:
        with ledger.read() as connection:
            return rollback.served(connection)

    first = served()
    second = add_release(folder, answer_tokens=30, attempt=2)
    assert served() == second
    assert run(folder, "--reason", "the second rambles")[0] == 0
    assert served() == first
    third = add_release(folder, answer_tokens=31, attempt=3)
    assert served() == third
    with ledger.read() as connection:
        assert rollback.before(connection) == second
    assert run(folder, str(second), "--reason", "the third is slow")[0] == 0
    assert served() == second
    told = CliRunner().invoke(modelyard, ["audit", "verify", "--project", str(folder)])
    assert told.exit_code == 0, told.output


def test_there_is_nothing_before_the_first_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    folder = make_yard(tmp_path / "desk")
    ledger = Yard(folder / ".yard").ledger
    with ledger.read() as connection:
        first = rollback.served(connection)
        with pytest.raises(ProjectError, match="no earlier release"):
            rollback.before(connection)
    code, said = run(folder, "--reason", "why not")
    assert code != 0
    assert "no earlier release" in said
    code, said = run(folder, "feedfeedfeedfeed-1", "--reason", "why not")
    assert code != 0
    assert "feedfeedfeedfeed-1" in said
    with ledger.read() as connection:
        assert rollback.served(connection) == first


def test_a_release_that_was_changed_is_not_put_back(tmp_path: Path) -> None:
    folder = make_yard(tmp_path / "desk")
    first = Yard(folder / ".yard").find(step="release.choose")[0]
    add_release(folder, answer_tokens=30, attempt=2)
    kept = first.folder / "model.gguf"
    kept.chmod(0o644)
    kept.write_text("something else")
    code, said = run(folder, "--reason", "go back")
    assert code != 0
    assert "was changed after it was stored" in said


def test_going_back_is_written_down_with_its_reason(tmp_path: Path) -> None:
    folder = make_yard(tmp_path / "desk")
    ledger = Yard(folder / ".yard").ledger
    with ledger.write() as connection:
        was = rollback.served(connection)
        assert was is not None
        rollback.roll_back(connection, was, "a drill", now_us())

    with ledger.read() as connection:
        assert connection.execute(select(serving.c.why)).scalar_one() == "a drill"
        events = connection.execute(select(audit.c.action)).scalars().all()
    assert "release.roll-back" in events
