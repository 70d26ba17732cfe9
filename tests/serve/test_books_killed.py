"""kill -9 at random moments: what was acknowledged is there, once; what was not may be asked again."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.serve.till import START_US, Till, done, used

from modelyard.errors import Denied, Duplicate
from modelyard.records.clock import now_us
from modelyard.records.ledger import Ledger
from modelyard.serve import budgets
from modelyard.serve.books import LEASE_US, Books

CALLERS = 4
ORDERS = 5_000
OUTPUT = 50


def gateway(till: Till, key: str, seed: int, offset_us: int, log: Path) -> None:
    """Until it is killed: take orders, answer them, and write down which were acknowledged."""
    till.ledger = Ledger(till.ledger.path)  # a connection must not cross a fork
    books = Books(till.ledger, lambda: now_us() + offset_us)
    written = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def caller(at: int) -> None:
        pick = random.Random(seed * CALLERS + at)
        while True:
            order = f"order-{pick.randrange(ORDERS)}"
            ask = till.ask(key, event_id=order, request_id=f"{order}/{seed}-{at}-{pick.random()}")
            try:
                done(books.reserve(ask))
            except (Duplicate, Denied):
                continue
            match pick.randrange(10):
                case 0:
                    done(books.release(ask.request_id, "the engine ended"))
                case 1:
                    pass  # forgotten: only its lease ends it
                case _:
                    done(books.settle(ask.request_id, used(ask, OUTPUT)))
                    os.write(written, f"{order}\n".encode())

    for at in range(CALLERS):
        threading.Thread(target=caller, args=(at,), daemon=True).start()
    time.sleep(60)


def kill_often(folder: Path, times: int) -> None:
    till = Till(folder)
    key = till.customer()
    with till.ledger.write() as connection:
        month = budgets.set_(connection, "customer", "acme", "ever", "money", "USD", 10**18, True, START_US)
        budgets.set_(connection, "project", "", "day", "tokens", "", 10**12, False, START_US)
    till.ledger.close()
    fork = multiprocessing.get_context("fork")  # the child has everything imported already
    pick = random.Random(5)
    for seed in range(times):
        # Each gateway starts when the leases of the one before are over.
        given = (till, key, seed, seed * 2 * LEASE_US, folder / "acknowledged")
        child = fork.Process(target=gateway, args=given)
        child.start()
        time.sleep(0.03 + pick.random() * 0.2)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    till.ledger = Ledger(till.ledger.path)
    books = Books(till.ledger, lambda: now_us() + (times + 1) * 2 * LEASE_US, reap_s=0.05)
    limit = time.monotonic() + 20
    while "held" in till.states().values() and time.monotonic() < limit:
        time.sleep(0.05)
    books.close()

    acknowledged = Counter((folder / "acknowledged").read_text("utf-8").split())
    counted = Counter(event["event_id"] for event in till.events())
    states = Counter(till.states().values())
    assert len(acknowledged) > times  # or nothing was tested
    assert set(counted.values()) == {1}
    assert set(acknowledged.values()) == {1}
    assert set(acknowledged) <= set(counted)
    assert states["held"] == 0
    assert states["settled"] == len(counted)
    paid = 100 * 300 + OUTPUT * 1200
    windows = till.windows()
    assert windows[month.id, 0] == (len(counted) * paid, 0)
    assert sum(spent for (id, _), (spent, _) in windows.items() if id != month.id) == len(counted) * 150
    assert all(held == 0 for _, held in windows.values())
    # A forgotten or interrupted order is at risk until a retry of it is counted.
    expired = {id.partition("/")[0] for id, state in till.states().items() if state == "expired"}
    assert {id.partition("/")[0] for id in till.at_risk()} == expired - set(counted)
    till.ledger.close()


def test_killed_25_times_no_acknowledged_event_is_lost_or_doubled(tmp_path: Path) -> None:
    kill_often(tmp_path, 25)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_killed_1000_times_no_acknowledged_event_is_lost_or_doubled(tmp_path: Path) -> None:
    kill_often(tmp_path, 1000)
