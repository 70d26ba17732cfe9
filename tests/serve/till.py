"""A yard with a customer, a plan and a key: what the books need before they can count."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from modelyard import bill
from modelyard.bill import contracts, customers
from modelyard.bill.prices import publish
from modelyard.bill.settings import Prices
from modelyard.records.ledger import Ledger
from modelyard.records.tables.service import budget_window, hold, unreconciled, usage_event
from modelyard.serve import keys
from modelyard.serve.asks import Ask, Used

PRICES = {
    "currency": "USD",
    "plans": {
        "starter": {
            "monthly": "29",
            "included_tokens": 2_000_000,
            "per_million_input": "0.30",
            "per_million_output": "1.20",
            "per_million_cached": "0.03",
        }
    },
}
START_US = 1_790_000_000_000_000  # 2026-09-21

_numbers = itertools.count(1)


@dataclass
class Clock:
    """A clock that stands still until it is set."""

    us: int = START_US

    def __call__(self) -> int:
        return self.us


class Till:
    """The ledger of a project with prices, and the customers that a test wants."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(folder / "yard.db")
        self.contracts: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        with self.ledger.write() as connection:
            publish(connection, Prices.model_validate(PRICES), START_US - 1)
            self.cost = bill.current(connection, "starter").rates

    def customer(self, name: str = "acme", *, timezone: str = "UTC") -> str:
        """A customer with a contract; returns the id of its key."""
        with self.ledger.write() as connection:
            if name not in self.contracts:
                customers.ensure(connection, name, "USD", START_US - 1, timezone=timezone)
                self.contracts[name] = contracts.start(connection, name, "starter", START_US - 1)
            made, _ = keys.create(connection, name, "customer", (), START_US - 1)
        self.keys[made.id] = name
        return made.id

    def ask(self, key: str, **changes: Any) -> Ask:
        """A request of 100 tokens for at most 200, under a new id."""
        given: dict[str, Any] = {
            "request_id": f"req-{next(_numbers)}",
            "key_id": key,
            "customer_id": self.keys[key],
            "contract_id": self.contracts[self.keys[key]],
            "event_id": None,
            "body_mac": "m" * 64,
            "input_tokens": 100,
            "max_output_tokens": 200,
            "max_output_given": True,
            "cost": self.cost,
        }
        return Ask(**{**given, **changes})

    def rows(self, table: Any) -> list[dict[str, Any]]:
        """All rows of a table."""
        with self.ledger.read() as connection:
            return [dict(row) for row in connection.execute(select(table)).mappings()]

    def windows(self) -> dict[tuple[str, int], tuple[int, int]]:
        """(budget, start) -> (spent, held)."""
        return {(r["budget_id"], r["start_us"]): (r["spent"], r["held"]) for r in self.rows(budget_window)}

    def states(self) -> dict[str, str]:
        """Request id -> state of its hold."""
        return {row["request_id"]: row["state"] for row in self.rows(hold)}

    def events(self) -> list[dict[str, Any]]:
        return self.rows(usage_event)

    def at_risk(self) -> set[str]:
        return {row["request_id"] for row in self.rows(unreconciled)}


def used(ask: Ask, output: int = 50, cached: int = 0, **changes: Any) -> Used:
    """What an ask took in the end."""
    given: dict[str, Any] = {
        "input_tokens": ask.input_tokens,
        "cached_tokens": cached,
        "output_tokens": output,
        "release_id": "release-1",
        "finish": "stop",
    }
    return Used(**{**given, **changes})


def done(future: Future[Any]) -> Any:
    """The result of a future, or its error raised."""
    return future.result(timeout=30)


Wait = Callable[[Future[Any]], Any]
