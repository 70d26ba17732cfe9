"""Budgets are set, changed and ended; their days and months are their customer's."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serve.till import START_US, Clock, Till, done, used

from modelyard.errors import Denied, ProjectError
from modelyard.records import audit
from modelyard.serve import budgets
from modelyard.serve.books import Books
from modelyard.serve.windows import window

COST = 100 * 300 + 200 * 1200
GIVEN = {"span": "month", "unit": "money", "currency": "USD", "most": COST, "hard": True, "at_us": START_US}


@pytest.fixture
def till(tmp_path: Path) -> Any:
    till = Till(tmp_path)
    yield till
    till.ledger.close()


def set_(till: Till, scope: str, of: str, **changes: Any) -> budgets.Budget:
    with till.ledger.write() as connection:
        return budgets.set_(connection, scope, of, **{**GIVEN, **changes})


def test_changing_a_budget_keeps_what_it_counted(till: Till) -> None:
    key = till.customer()
    first = set_(till, "customer", "acme")
    books = Books(till.ledger, Clock())
    ask = till.ask(key)
    done(books.reserve(ask))
    done(books.settle(ask.request_id, used(ask, 200)))
    with pytest.raises(Denied):
        done(books.reserve(till.ask(key)))
    second = set_(till, "customer", "acme", most=2 * COST)
    assert (second.id, second.spent, second.most) == (first.id, COST, 2 * COST)
    done(books.reserve(till.ask(key)))
    with pytest.raises(Denied):
        done(books.reserve(till.ask(key)))
    with till.ledger.write() as connection:
        assert budgets.end(connection, first.id, START_US).ended_us == START_US
        assert budgets.end(connection, first.id, START_US + 9).ended_us == START_US
        assert budgets.listed(connection, START_US) == []
        assert [b.id for b in budgets.listed(connection, START_US, ended=True)] == [first.id]
        audit.verify(connection)
    done(books.reserve(till.ask(key)))
    books.close()


@pytest.mark.parametrize(
    ("scope", "of", "changes", "said"),
    [
        ("team", "", {}, "no scope"),
        ("customer", "nobody", {}, "no customer"),
        ("customer", "", {}, "of one key, one customer"),
        ("project", "acme", {}, "of one key, one customer"),
        ("project", "", {"span": "year"}, "no span"),
        ("project", "", {"unit": "words"}, "no unit"),
        ("project", "", {"unit": "tokens"}, "of tokens has none"),
        ("project", "", {"currency": ""}, "has a currency"),
        ("project", "", {"most": -1}, "at least 0"),
        ("project", "", {"most": 2**63}, "fits"),
        ("project", "", {"alerts": [0]}, "percentage"),
    ],
)
def test_a_budget_that_cannot_be_is_not_made(
    till: Till, scope: str, of: str, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ProjectError, match=said):
        set_(till, scope, of, **changes)


ZONES = sorted(available_timezones() - {"localtime"})
MOMENTS = st.integers(0, 4_000_000_000_000_000)


@given(zone=st.sampled_from(ZONES), at_us=MOMENTS, span=st.sampled_from(["day", "month"]))
def test_each_moment_is_in_exactly_one_day_and_month(zone: str, at_us: int, span: str) -> None:
    start, end = window(span, zone, at_us)
    assert end is not None
    assert start <= at_us < end
    assert window(span, zone, end)[0] == end
    assert window(span, zone, start) == window(span, zone, end - 1) == (start, end)
    first = datetime.fromtimestamp(start // 1_000_000, UTC).astimezone(ZoneInfo(zone))
    now = datetime.fromtimestamp(at_us // 1_000_000, UTC).astimezone(ZoneInfo(zone))
    assert (first.year, first.month) == (now.year, now.month)
    assert span == "month" or first.day == now.day
    assert window("ever", zone, at_us) == (0, None)


def test_a_day_with_a_change_of_clocks_has_23_or_25_hours() -> None:
    hours = 3600 * 1_000_000
    spring = int(datetime(2026, 3, 29, 12, tzinfo=UTC).timestamp()) * 1_000_000
    autumn = int(datetime(2026, 10, 25, 12, tzinfo=UTC).timestamp()) * 1_000_000
    for at_us, long in ((spring, 23), (autumn, 25)):
        start, end = window("day", "Europe/Berlin", at_us)
        assert end is not None
        assert end - start == long * hours
