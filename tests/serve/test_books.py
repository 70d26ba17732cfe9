"""Reserving and settling, one rule at a time."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from tests.serve.till import START_US, Clock, Till, done, used

from modelyard.errors import Busy, Conflict, Denied, Duplicate, KeyRefused, NoRoom, RecordError
from modelyard.records.prepared import Prepared
from modelyard.records.tables.service import event_conflict, hold, hold_budget, request_time, usage_event
from modelyard.serve import budgets, keys, statements
from modelyard.serve.books import LEASE_US, Books
from modelyard.serve.statements import REAP_MOST

DAY_US = 24 * 3600 * 1_000_000
COST = 100 * 300 + 200 * 1200  # nano-dollars of a request as till.ask makes it


@pytest.fixture
def till(tmp_path: Path) -> Any:
    till = Till(tmp_path)
    yield till
    till.ledger.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def books(till: Till, clock: Clock) -> Any:
    books = Books(till.ledger, clock, reap_s=1e9)
    done(books.submit(lambda connection: None))
    yield books
    books.close()


@pytest.fixture
def key(till: Till) -> str:
    return till.customer()


def budget(till: Till, most: int, scope: str = "customer", of: str = "acme", **changes: Any) -> str:
    given = {"span": "month", "unit": "money", "currency": "USD", "hard": True, "at_us": START_US, **changes}
    with till.ledger.write() as connection:
        return budgets.set_(connection, scope, of, most=most, **given).id


def only(windows: dict[tuple[str, int], tuple[int, int]]) -> tuple[int, int]:
    (found,) = windows.values()
    return found


def test_what_is_held_becomes_what_was_spent(till: Till, books: Books, key: str) -> None:
    budget(till, 10 * COST)
    ask = till.ask(key)
    held = done(books.reserve(ask))
    assert (held.amount, held.max_output_tokens, held.event_id) == (COST, 200, ask.request_id)
    assert only(till.windows()) == (0, COST)
    settled = done(books.settle(ask.request_id, used(ask, 50, cached=40)))
    exact = Fraction(60 * 300 + 40 * 30 + 50 * 1200)
    assert settled.amount == exact
    assert only(till.windows()) == (exact, 0)
    (event,) = till.events()
    assert (event["source"], event["event_id"]) == ("customer:acme", ask.request_id)
    assert (event["input_tokens"], event["cached_tokens"], event["output_tokens"]) == (100, 40, 50)
    assert (event["release_id"], event["plan_version_id"]) == ("release-1", "starter@1")
    assert event["body_mac"] == ask.body_mac


def test_a_price_finer_than_a_nano_unit_is_held_and_spent_rounded_up(
    till: Till, books: Books, key: str
) -> None:
    budget(till, COST)
    ask = till.ask(key, input_tokens=0, max_output_tokens=1, cost=Finer())
    assert done(books.reserve(ask)).amount == 1
    assert done(books.settle(ask.request_id, used(ask, 1))).amount == 1


class Finer:
    plan_version, currency = "starter@1", "USD"

    def most(self, input_tokens: int, output_tokens: int) -> int:
        return min(1, output_tokens)

    def list_price(self, input_tokens: int, cached_tokens: int, output_tokens: int) -> Fraction:
        return Fraction(output_tokens, 10**12)


def test_settling_again_counts_nothing(till: Till, books: Books, key: str) -> None:
    budget(till, 10 * COST)
    ask = till.ask(key)
    done(books.reserve(ask))
    first = done(books.settle(ask.request_id, used(ask)))
    again = done(books.settle(ask.request_id, used(ask, 7)))
    assert (first.first, again.first) == (True, False)
    assert again.amount == first.amount
    assert len(till.events()) == 1
    assert only(till.windows()) == (first.amount, 0)


def test_more_than_was_reserved_is_never_settled(till: Till, books: Books, key: str) -> None:
    ask = till.ask(key)
    done(books.reserve(ask))
    with pytest.raises(RecordError, match="reserved were"):
        done(books.settle(ask.request_id, used(ask, 201)))
    assert till.states() == {ask.request_id: "held"}
    assert not till.events()


def test_a_request_that_was_never_reserved_is_not_settled(till: Till, books: Books, key: str) -> None:
    with pytest.raises(RecordError, match="nothing was reserved"):
        done(books.settle("req-0", used(till.ask(key))))


def test_a_released_hold_leaves_nothing_behind(till: Till, books: Books, key: str) -> None:
    budget(till, COST)
    ask = till.ask(key)
    done(books.reserve(ask))
    done(books.release(ask.request_id, "the engine ended"))
    done(books.release(ask.request_id, "the engine ended"))
    assert only(till.windows()) == (0, 0)
    assert not till.events()
    done(books.reserve(till.ask(key)))


@pytest.mark.parametrize("finished", [False, True])
def test_the_same_id_with_the_same_body_is_not_run_again(
    till: Till, books: Books, key: str, finished: bool
) -> None:
    ask = till.ask(key, event_id="order-1")
    done(books.reserve(ask))
    if finished:
        done(books.settle(ask.request_id, used(ask)))
    with pytest.raises(Duplicate) as refused:
        done(books.reserve(till.ask(key, event_id="order-1")))
    assert refused.value.done == finished
    assert refused.value.request_id == ask.request_id
    assert len(till.states()) == 1


def test_the_same_id_with_another_body_is_a_conflict_and_is_written_down(
    till: Till, books: Books, key: str
) -> None:
    budget(till, 10 * COST)
    ask = till.ask(key, event_id="order-1")
    done(books.reserve(ask))
    before = till.windows()
    with pytest.raises(Conflict):
        done(books.reserve(till.ask(key, event_id="order-1", body_mac="n" * 64)))
    assert till.windows() == before
    assert [row["body_mac"] for row in till.rows(event_conflict)] == ["n" * 64]


def test_two_customers_may_use_the_same_id(till: Till, books: Books, key: str) -> None:
    for ask in (till.ask(key, event_id="1"), till.ask(till.customer("bolt"), event_id="1")):
        done(books.reserve(ask))
        done(books.settle(ask.request_id, used(ask)))
    assert {event["source"] for event in till.events()} == {"customer:acme", "customer:bolt"}


def test_after_a_failure_the_same_id_may_come_again(till: Till, books: Books, key: str) -> None:
    first = till.ask(key, event_id="order-1")
    done(books.reserve(first))
    done(books.release(first.request_id, "the engine ended"))
    second = till.ask(key, event_id="order-1")
    done(books.reserve(second))
    done(books.settle(second.request_id, used(second)))
    assert len(till.events()) == 1


def test_a_denied_request_leaves_no_trace(till: Till, books: Books, key: str) -> None:
    budget(till, COST - 1)
    with pytest.raises(Denied) as refused:
        done(books.reserve(till.ask(key)))
    assert refused.value.code == "insufficient_quota"
    assert refused.value.http_status == 429
    assert not refused.value.soon
    assert refused.value.resets_us == 1_790_812_800_000_000  # the first of October 2026, UTC
    assert not till.windows()
    assert not till.states()


def test_a_default_length_is_cut_to_what_the_budget_buys(till: Till, books: Books, key: str) -> None:
    budget(till, 100 * 300 + 7 * 1200 + 1199)
    ask = till.ask(key, max_output_given=False)
    assert done(books.reserve(ask)).max_output_tokens == 7
    done(books.settle(ask.request_id, used(ask, 7)))
    with pytest.raises(Denied) as refused:
        done(books.reserve(till.ask(key, max_output_given=False)))
    assert not refused.value.soon


def test_what_others_hold_is_waited_for_and_shortens_no_answer(till: Till, books: Books, key: str) -> None:
    budget(till, COST)
    first = till.ask(key, max_output_given=False)
    done(books.reserve(first))
    with pytest.raises(Denied) as refused:
        done(books.reserve(till.ask(key, max_output_given=False)))
    assert refused.value.soon
    assert refused.value.resets_us == START_US + 1_000_000


def test_a_soft_budget_warns_and_counts(till: Till, books: Books, key: str) -> None:
    id = budget(till, COST, hard=False)
    asks = [till.ask(key) for _ in range(2)]
    assert done(books.reserve(asks[0])).warnings == (
        f"budget {id} of customer acme has reached 80%",
        f"budget {id} of customer acme has reached 100%",
    )
    assert done(books.reserve(asks[1])).warnings == (f"budget {id} of customer acme is passed",)
    assert only(till.windows()) == (0, 2 * COST)


def test_budgets_of_key_customer_and_project_all_count(till: Till, books: Books, key: str) -> None:
    budget(till, COST, "key", key, span="day")
    budget(till, 2 * COST)
    budget(till, 3 * 300, "project", "", unit="tokens", currency="", span="ever")
    other, foreign = till.customer(), till.customer("bolt")
    asks = [till.ask(key), till.ask(other), till.ask(foreign)]
    for ask in asks:
        done(books.reserve(ask))
    assert sorted(till.windows().values()) == [(0, 900), (0, COST), (0, 2 * COST)]
    for late in (key, other, foreign):
        with pytest.raises(Denied):
            done(books.reserve(till.ask(late)))
    assert len(till.rows(hold_budget)) == 3 + 2 + 1


def test_a_new_day_is_a_new_window_in_the_customers_time_zone(till: Till, books: Books, clock: Clock) -> None:
    key = till.customer("bolt", timezone="Asia/Shanghai")
    budget(till, COST, of="bolt", span="day")
    midnight = START_US // DAY_US * DAY_US + 16 * 3600 * 1_000_000  # in Shanghai
    clock.us = midnight - 1
    done(books.reserve(till.ask(key)))
    with pytest.raises(Denied) as refused:
        done(books.reserve(till.ask(key)))
    assert refused.value.resets_us is not None
    clock.us = midnight
    done(books.reserve(till.ask(key)))
    assert {start for _, start in till.windows()} == {midnight - DAY_US, midnight}


def test_money_without_an_exchange_rate_is_refused_under_a_hard_budget(
    till: Till, books: Books, key: str
) -> None:
    id = budget(till, 10**15, currency="EUR")
    with pytest.raises(Denied) as refused:
        done(books.reserve(till.ask(key)))
    assert refused.value.code == "unpriceable"
    budget(till, 10**15, currency="EUR", hard=False)
    assert done(books.reserve(till.ask(key))).warnings == (f"budget {id} cannot count USD",)


def test_without_a_price_nothing_is_free(till: Till, books: Books, key: str) -> None:
    with pytest.raises(Denied) as refused:
        done(books.reserve(till.ask(key, cost=None)))
    assert refused.value.code == "unpriceable"


@pytest.mark.parametrize("why", ["revoked", "over", "foreign", "unknown"])
def test_a_key_is_looked_at_again_when_the_request_is_reserved(
    till: Till, books: Books, clock: Clock, key: str, why: str
) -> None:
    ask = till.ask(key)
    with till.ledger.write() as connection:
        if why == "revoked":
            keys.revoke(connection, key, START_US)
        elif why == "over":
            keys.rotate(connection, key, START_US, grace_us=0)
    if why == "foreign":
        till.customer("bolt")
        ask = till.ask(key, customer_id="bolt")
    elif why == "unknown":
        ask = replace(ask, key_id="key-0")
    with pytest.raises(KeyRefused) as refused:
        done(books.reserve(ask))
    assert refused.value.http_status == 401
    assert not till.states()


def test_a_lease_that_runs_out_frees_the_hold_and_tells_what_is_at_risk(
    till: Till, books: Books, clock: Clock, key: str
) -> None:
    budget(till, COST)
    ask = till.ask(key)
    done(books.reserve(ask))
    clock.us += LEASE_US - 1
    assert done(books.reap()) == 0
    assert done(books.extend(ask.request_id, "req-0")) == 1
    clock.us += LEASE_US - 1
    assert done(books.reap()) == 0
    clock.us += 1
    assert done(books.reap()) == 1
    assert only(till.windows()) == (0, 0)
    assert till.at_risk() == {ask.request_id}


def test_settling_after_the_lease_counts_once_and_nothing_is_at_risk_any_more(
    till: Till, books: Books, clock: Clock, key: str
) -> None:
    budget(till, COST)
    ask = till.ask(key)
    done(books.reserve(ask))
    clock.us += LEASE_US
    done(books.reap())
    settled = done(books.settle(ask.request_id, used(ask)))
    assert settled.first
    assert not done(books.settle(ask.request_id, used(ask))).first
    assert only(till.windows()) == (settled.amount, 0)
    assert not till.at_risk()
    assert len(till.events()) == 1


def test_settling_after_the_lease_never_passes_a_hard_budget(
    till: Till, books: Books, clock: Clock, key: str
) -> None:
    budget(till, COST)
    late = till.ask(key)
    done(books.reserve(late))
    clock.us += LEASE_US
    done(books.reap())
    done(books.reserve(till.ask(key)))
    with pytest.raises(Denied):
        done(books.settle(late.request_id, used(late)))
    assert only(till.windows()) == (0, COST)
    assert till.at_risk() == {late.request_id}


@pytest.mark.parametrize("retry_first", [False, True])
def test_a_retry_after_the_lease_and_the_late_one_are_one_event(
    till: Till, books: Books, clock: Clock, key: str, retry_first: bool
) -> None:
    first = till.ask(key, event_id="order-1")
    done(books.reserve(first))
    clock.us += LEASE_US
    done(books.reap())
    retry = till.ask(key, event_id="order-1")
    done(books.reserve(retry))
    for ask in (retry, first) if retry_first else (first, retry):
        counted = done(books.settle(ask.request_id, used(ask))).first
        assert counted == (ask is retry)
    assert len(till.events()) == 1
    assert not till.at_risk()


def test_a_clock_set_back_does_not_keep_holds_alive(till: Till, books: Books, clock: Clock, key: str) -> None:
    ask = till.ask(key)
    clock.us += 30 * DAY_US
    done(books.reserve(ask))
    clock.us -= 30 * DAY_US
    done(books.reap())
    clock.us += LEASE_US
    assert done(books.reap()) == 1


def test_a_gateway_that_starts_frees_what_the_one_before_left(
    till: Till, books: Books, clock: Clock, key: str
) -> None:
    for _ in range(3):
        done(books.reserve(till.ask(key)))
    books.close()
    clock.us += LEASE_US
    again = Books(till.ledger, clock, reap_s=1e9)
    done(again.submit(lambda connection: None))
    again.close()
    assert set(till.states().values()) == {"expired"}


def test_one_reaping_is_short(till: Till, books: Books, clock: Clock, key: str) -> None:
    for future in [books.reserve(till.ask(key)) for _ in range(REAP_MOST + 5)]:
        done(future)
    clock.us += LEASE_US
    assert [done(books.reap()), done(books.reap())] == [REAP_MOST, 5]


def test_where_the_time_went_is_kept_and_the_wait_for_the_books_is_in_it(
    till: Till, books: Books, key: str
) -> None:
    ask = till.ask(key)
    done(books.reserve(ask))
    took = used(ask, queue_us=1, prefill_us=2, decode_us=3, database_us=4, client_us=5, status=499)
    done(books.settle(ask.request_id, took))
    (row,) = till.rows(request_time)
    assert [row[name] for name in ("queue_us", "prefill_us", "decode_us", "client_us", "status")] == [
        1,
        2,
        3,
        5,
        499,
    ]
    assert row["database_us"] >= 4


@pytest.mark.parametrize("scope", ["key", "customer", "project"])
def test_many_threads_hold_a_cap_exactly(till: Till, key: str, scope: str) -> None:
    fits = 100
    budget(till, fits * COST, scope, {"key": key, "customer": "acme", "project": ""}[scope])
    books = Books(till.ledger, Clock(), reap_s=1e9)
    passed: list[str] = []

    def caller() -> None:
        for _ in range(15):
            ask = till.ask(key)
            try:
                done(books.reserve(ask))
            except Denied:
                continue
            passed.append(ask.request_id)
            done(books.settle(ask.request_id, used(ask, 200)))

    threads = [threading.Thread(target=caller) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    books.close()
    assert len(passed) == fits
    assert only(till.windows()) == (fits * COST, 0)
    assert len(till.events()) == fits


def test_closing_does_what_was_handed_in_and_takes_no_more(till: Till, key: str) -> None:
    books = Books(till.ledger, Clock())
    futures = [books.reserve(till.ask(key)) for _ in range(50)]
    books.close()
    assert all(future.done() for future in futures)
    with pytest.raises(RuntimeError, match="closed"):
        books.reserve(till.ask(key))


def test_work_that_fails_undoes_only_itself(till: Till, books: Books, key: str) -> None:
    def wrong(connection: Any) -> None:
        keys.revoke(connection, key, START_US)
        raise ValueError("no")

    futures = [books.reserve(till.ask(key)), books.submit(wrong), books.reserve(till.ask(key))]
    done(futures[0])
    with pytest.raises(ValueError, match="no"):
        done(futures[1])
    done(futures[2])


def test_nobody_can_take_back_what_was_handed_in(till: Till, books: Books, key: str) -> None:
    ask = till.ask(key)
    future = books.reserve(ask)
    assert not future.cancel()
    done(future)
    assert till.states() == {ask.request_id: "held"}


@pytest.mark.parametrize("table", [hold, usage_event])
def test_the_tables_themselves_refuse_a_second_row_of_one_request(
    till: Till, books: Books, key: str, table: Any
) -> None:
    ask = till.ask(key, event_id="order-1")
    done(books.reserve(ask))
    done(books.settle(ask.request_id, used(ask)))
    (row,) = till.rows(table)
    changed = {**row, "request_id": "req-0"} if table is hold else {**row, "seq": None}
    with pytest.raises(IntegrityError), till.ledger.write() as connection:
        connection.execute(insert(table).values(**changed))


def test_a_full_disk_is_told_and_nothing_is_half_written(till: Till, books: Books, key: str) -> None:
    budget(till, 10**15)

    def pages(most: int) -> None:
        done(books.submit(lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count={most}")))

    pages(1)  # no page more than there are
    asks = [till.ask(key) for _ in range(2000)]
    errors = [future.exception(timeout=60) for future in [books.reserve(ask) for ask in asks]]
    assert any(isinstance(error, NoRoom) for error in errors)
    assert all(error is None or isinstance(error, NoRoom) for error in errors)
    kept = {ask.request_id for ask, error in zip(asks, errors, strict=True) if error is None}
    assert set(till.states()) == kept
    assert only(till.windows())[1] == len(kept) * COST if kept else not till.windows()
    pages(2**30)
    ask = till.ask(key)
    done(books.reserve(ask))
    assert done(books.settle(ask.request_id, used(ask))).first


def test_a_ledger_that_another_process_keeps_locked_refuses_and_gives_nothing_free(
    till: Till, books: Books, key: str
) -> None:
    with closing(sqlite3.connect(till.ledger.path, isolation_level=None)) as other:
        done(books.submit(lambda connection: connection.exec_driver_sql("PRAGMA busy_timeout=500")))
        other.execute("BEGIN IMMEDIATE")
        futures = [books.reserve(till.ask(key)) for _ in range(20)]
        for future in futures:  # none waits for the others' turns as well
            assert isinstance(future.exception(timeout=5), Busy)
        other.execute("ROLLBACK")
    done(books.reserve(till.ask(key)))
    assert len(till.states()) == 1


@pytest.mark.parametrize("name", sorted(name for name in vars(statements) if name.isupper()))
def test_every_statement_can_be_said_to_postgresql(name: str) -> None:
    prepared = getattr(statements, name)
    if isinstance(prepared, Prepared):
        assert str(prepared._statement.compile(dialect=postgresql.dialect()))
