"""Fifty at once whose real cost fits are all answered, although what they could have cost does not."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.serve.till import START_US, Clock, Till, done, used

from modelyard.errors import Denied
from modelyard.serve import budgets
from modelyard.serve.books import Books

COST = 100 * 300 + 200 * 1200


@pytest.fixture
def till(tmp_path: Path) -> Any:
    till = Till(tmp_path)
    yield till
    till.ledger.close()


def limited(till: Till, most: int) -> str:
    key = till.customer()
    with till.ledger.write() as connection:
        budgets.set_(connection, "customer", "acme", "ever", "money", "USD", most, True, START_US)
    return key


def test_fifty_at_once_whose_real_cost_fits_are_all_answered(till: Till) -> None:
    real = 100 * 300 + 20 * 1200
    key = limited(till, 50 * real + COST)  # fewer than eleven fit at once by what they could cost
    books = Books(till.ledger, Clock(), reap_s=1e9)
    answered: list[str] = []

    def caller() -> None:
        ask = till.ask(key)
        done(books.reserve(ask, patience_s=20))
        time.sleep(0.01)
        done(books.settle(ask.request_id, used(ask, 20)))
        answered.append(ask.request_id)

    threads = [threading.Thread(target=caller) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    books.close()
    assert len(answered) == 50
    assert list(till.windows().values()) == [(50 * real, 0)]


def test_who_waits_is_tried_when_a_hold_is_released(till: Till) -> None:
    key = limited(till, COST)
    books = Books(till.ledger, Clock(), reap_s=1e9)
    first, second = till.ask(key), till.ask(key)
    done(books.reserve(first))
    waits = books.reserve(second, patience_s=20)
    done(books.submit(lambda connection: None))
    assert not waits.done()
    done(books.release(first.request_id, "the engine ended"))
    done(waits)
    books.close()


def test_patience_ends(till: Till) -> None:
    key = limited(till, COST)
    books = Books(till.ledger, Clock(), reap_s=0.05)
    done(books.reserve(till.ask(key)))
    began = time.monotonic()
    with pytest.raises(Denied) as refused:
        done(books.reserve(till.ask(key), patience_s=0.1))
    assert refused.value.soon
    assert 0.1 <= time.monotonic() - began < 5
    books.close()


def test_nobody_waits_for_what_is_spent(till: Till) -> None:
    key = limited(till, COST - 1)
    books = Books(till.ledger, Clock(), reap_s=1e9)
    began = time.monotonic()
    with pytest.raises(Denied):
        done(books.reserve(till.ask(key), patience_s=20))
    assert time.monotonic() - began < 5
    books.close()


def test_closing_leaves_nobody_waiting(till: Till) -> None:
    key = limited(till, COST)
    books = Books(till.ledger, Clock(), reap_s=1e9)
    done(books.reserve(till.ask(key)))
    waits = books.reserve(till.ask(key), patience_s=60)
    books.close()
    with pytest.raises(Denied):
        done(waits)
