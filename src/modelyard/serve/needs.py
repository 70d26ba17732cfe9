"""What one request needs of one budget."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from ..bill.rates import Rates


@dataclass(frozen=True, slots=True)
class Need:
    """A budget that a request falls under, and its day or month."""

    row: Row[Any]
    start_us: int
    end_us: int | None

    def counts(self, cost: Rates) -> bool:
        """Whether this budget can count the request: money only in the currency of its price."""
        return bool(self.row.unit == "tokens" or self.row.currency == cost.currency)

    def amount(self, cost: Rates, input_tokens: int, output_tokens: int) -> int:
        """The most that it can take from this budget: tokens, or nano-units."""
        if self.row.unit == "tokens":
            return input_tokens + output_tokens
        return cost.most(input_tokens, output_tokens)

    def buys(self, cost: Rates, input_tokens: int, most: int, room: int) -> int:
        """How many output tokens, up to `most`, `room` buys after the input; -1: not even the input."""
        if self.amount(cost, input_tokens, 0) > room:
            return -1
        low, high = 0, most  # `low` is affordable, and no price falls with the tokens
        while low < high:
            middle = (low + high + 1) // 2
            if self.amount(cost, input_tokens, middle) <= room:
                low = middle
            else:
                high = middle - 1
        return low


def told(short: Sequence[Need]) -> str:
    """What the client is told: which budgets, never how large the project's are."""
    names = ", ".join(f"{need.row.id} of this {need.row.scope}" for need in short)
    return f"budget {names} does not allow this request"


def warned(need: Need, before: int, after: int) -> list[str]:
    """Alert levels that were crossed now, and a soft budget that is passed; for the owner's log."""
    most, name = need.row.most, f"budget {need.row.id} of {need.row.scope} {need.row.scope_id}".rstrip()
    texts = [
        f"{name} has reached {level}%"
        for level in json.loads(need.row.alerts)
        if 100 * before < level * most <= 100 * after
    ]
    if after > most:
        texts.append(f"{name} is passed")
    return texts
