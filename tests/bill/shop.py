"""A ledger with prices and customers, made quickly, and events to put in."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelyard.bill import Prices, contracts, customers, prices
from modelyard.bill.cloudevents import TYPE
from modelyard.bill.intake import Taken, take
from modelyard.bill.period import month, to_text
from modelyard.bill.plans import PlanVersion
from modelyard.records.ledger import Ledger

NOVEMBER = month("2026-11", "UTC")
DAY = 86_400_000_000
NOW = NOVEMBER.start_us + 24 * DAY
STARTER = {
    "monthly": "29",
    "included_tokens": 2_000_000,
    "per_million_input": "0.30",
    "per_million_output": "1.20",
}


def proposed(currency: str = "USD", **plans: dict[str, Any]) -> Prices:
    return Prices.model_validate({"currency": currency, "plans": plans or {"starter": STARTER}})


@dataclass
class Shop:
    """One yard's ledger; each example of a property takes customers and plans of its own."""

    folder: Path
    number: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.folder / "yard.db")

    def publish(self, block: Prices, at_us: int = NOVEMBER.start_us) -> dict[str, PlanVersion]:
        with self.ledger.write() as connection:
            return prices.publish(connection, block, at_us)

    def customer(
        self, plan: str, at_us: int = NOVEMBER.start_us, currency: str = "USD", timezone: str = "UTC"
    ) -> str:
        """A new customer with a contract on the plan since `at_us`."""
        id = f"c{next(self.number)}"
        with self.ledger.write() as connection:
            customers.add(connection, id, currency, at_us, timezone=timezone)
            contracts.start(connection, id, plan, at_us)
        return id

    def change(self, customer: str, plan: str, at_us: int) -> None:
        with self.ledger.write() as connection:
            contracts.start(connection, customer, plan, at_us)

    def take(self, events: Iterable[dict[str, Any]], now_us: int = NOW) -> Taken:
        return take(self.ledger.write, lines(events), clock=lambda: now_us)

    def rows(self, statement: str, *values: Any) -> Sequence[Any]:
        with self.ledger.read() as connection:
            return connection.exec_driver_sql(statement, values).all()


def event(id: str, customer: str, at_us: int = NOVEMBER.start_us + DAY, **data: Any) -> dict[str, Any]:
    """A CloudEvent of a request, its source the customer's own; `data` over 10 tokens read, 5 written."""
    tokens = {} if data.get("kind") == "void" else {"input_tokens": 10, "output_tokens": 5}
    return {
        "specversion": "1.0",
        "type": TYPE,
        "source": f"erp-of-{customer}",
        "id": id,
        "time": to_text(at_us),
        "subject": customer,
        "data": {**tokens, **data},
    }


def lines(events: Iterable[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(one).encode() + b"\n" for one in events]
