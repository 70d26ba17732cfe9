"""A prepared statement says what SQLAlchemy would have said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from modelyard.records.ledger import Ledger
from modelyard.records.prepared import Prepared
from modelyard.records.tables.service import secret, unreconciled, usage_event

PUT = Prepared.insert(secret)
ALL = Prepared(select(secret).order_by(secret.c.name))
SET = Prepared(
    update(secret)
    .where(secret.c.name == bindparam("of"), secret.c.value == "old")
    .values(value=bindparam("to"))
)


@pytest.fixture
def ledger(tmp_path: Path) -> Any:
    ledger = Ledger(tmp_path / "yard.db")
    yield ledger
    ledger.close()


def test_rows_have_names_and_changes_are_counted(ledger: Ledger) -> None:
    with ledger.write() as connection:
        for name in ("a", "b"):
            PUT.run(connection, {"name": name, "value": "old"})
        assert SET.run(connection, {"of": "a", "to": "new"}) == 1
        assert SET.run(connection, {"of": "a", "to": "newer"}) == 0
        assert [(row.name, row.value) for row in ALL.all(connection, {})] == [("a", "new"), ("b", "old")]
        assert [tuple(row) for row in connection.execute(select(secret).order_by(secret.c.name))] == [
            tuple(row) for row in ALL.all(connection, {})
        ]


def test_nothing_found_is_none(ledger: Ledger) -> None:
    with ledger.read() as connection:
        assert ALL.first(connection, {}) is None


def test_it_stands_and_falls_with_the_transaction(ledger: Ledger) -> None:
    def fail() -> None:
        with ledger.write() as connection:
            PUT.run(connection, {"name": "a", "value": "x"})
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    with ledger.read() as connection:
        assert ALL.all(connection, {}) == []


def test_a_missing_value_is_told_before_anything_runs(ledger: Ledger) -> None:
    with ledger.write() as connection, pytest.raises(KeyError, match="value"):
        PUT.run(connection, {"name": "a"})


def test_errors_are_sqlalchemys_and_do_not_show_what_is_in_the_row(ledger: Ledger) -> None:
    with ledger.write() as connection:
        PUT.run(connection, {"name": "planted", "value": "x"})
        with pytest.raises(IntegrityError) as failed:
            PUT.run(connection, {"name": "planted", "value": "planted"})
        assert "planted" not in str(failed.value)
        with pytest.raises(OperationalError):
            Prepared(select(secret.c.name).prefix_with("FROM")).run(connection, {})


def test_a_number_that_the_database_counts_is_not_asked_for() -> None:
    assert "seq" not in (Prepared.insert(usage_event)._columns or ())
    assert "request_id" in (Prepared.insert(unreconciled)._columns or ())
