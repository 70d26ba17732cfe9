"""What the books must say, written from the order alone: a list of holds, whole numbers and fractions."""

from __future__ import annotations

import calendar
import math
import time
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

DAY_US = 24 * 3600 * 1_000_000
LEASE_US = 30_000_000
ZONES = {"acme": 0, "bolt": 8 * 3600 * 1_000_000}  # UTC and Asia/Shanghai, which has no summer time

INPUT, CACHED, OUTPUT = Fraction("0.30"), Fraction("0.03"), Fraction("1.20")  # for a million tokens


def most(read: int, written: int) -> int:
    return math.ceil((read * INPUT + written * OUTPUT) * 1000)


def price(read: int, cached: int, written: int) -> int:
    return math.ceil(((read - cached) * INPUT + cached * CACHED + written * OUTPUT) * 1000)


@dataclass
class Budget:
    id: str
    scope: str
    of: str
    span: str
    unit: str
    currency: str
    most: int
    hard: bool
    ended: bool = False
    bounds: dict[int, int] = field(default_factory=dict)
    """Start of a window -> what it may not pass: `most`, or where it stood when that was lowered."""


@dataclass
class Hold:
    id: str
    customer: str
    key: str
    event: str
    mac: str
    read: int
    written: int
    lease: int
    parts: dict[tuple[str, int], int]
    state: Literal["held", "settled", "released", "expired"] = "held"
    paid: dict[str, int] = field(default_factory=dict)


class Model:
    """Every rule of reserving and settling, the slow and obvious way."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.keys: dict[str, str] = {}
        self.revoked: set[str] = set()
        self.budgets: dict[str, Budget] = {}
        self.holds: dict[str, Hold] = {}
        self.events: dict[tuple[str, str], tuple[int, int, int, str]] = {}
        self.at_risk: set[str] = set()
        self.conflicts = 0

    def window(self, budget: Budget) -> tuple[int, int | None]:
        if budget.span == "ever":
            return 0, None
        owner = self.keys.get(budget.of, budget.of)
        offset = 0 if budget.scope == "project" else ZONES[owner]
        local = self.now + offset
        if budget.span == "day":
            start = local // DAY_US * DAY_US
            return start - offset, start + DAY_US - offset
        date = time.gmtime(local // 1_000_000)
        start = calendar.timegm((date.tm_year, date.tm_mon, 1, 0, 0, 0)) * 1_000_000
        days = calendar.monthrange(date.tm_year, date.tm_mon)[1]
        return start - offset, start + days * DAY_US - offset

    def window_of(self, budget: str, start: int) -> tuple[int, int]:
        """Spent and held, from the holds alone."""
        spent = held = 0
        for hold in self.holds.values():
            if (budget, start) in hold.parts:
                held += hold.parts[budget, start] if hold.state == "held" else 0
                spent += hold.paid[self.budgets[budget].unit] if hold.state == "settled" else 0
        return spent, held

    def live(self, customer: str, event: str) -> Hold | None:
        for hold in self.holds.values():
            if (hold.customer, hold.event) == (customer, event) and hold.state in ("held", "settled"):
                return hold
        return None

    def reserve(self, ask: Any) -> dict[str, Any]:
        """What must come back: {"held": tokens} or {"error": name, ...}."""
        if ask.key_id in self.revoked:
            return {"error": "KeyRefused"}
        event = ask.event_id or ask.request_id
        before = self.events.get((ask.customer_id, event))
        live = self.live(ask.customer_id, event)
        mac = before[3] if before else live.mac if live else None
        if mac is not None:
            if mac == ask.body_mac:
                return {"error": "Duplicate", "done": before is not None}
            self.conflicts += 1
            return {"error": "Conflict"}
        under = [
            budget
            for budget in self.budgets.values()
            if not budget.ended
            and (budget.scope, budget.of)
            in (("key", ask.key_id), ("customer", ask.customer_id), ("project", ""))
        ]
        if any(budget.hard and budget.currency not in ("", "USD") for budget in under):
            return {"error": "Denied", "code": "unpriceable"}
        counted = [budget for budget in under if budget.currency in ("", "USD")]
        hard = [budget for budget in counted if budget.hard]
        written = self._fitting(ask, hard)
        if isinstance(written, dict):
            return written
        parts = {
            (budget.id, self.window(budget)[0]): self._amount(budget, ask.input_tokens, written)
            for budget in counted
        }
        self.holds[ask.request_id] = Hold(
            ask.request_id,
            ask.customer_id,
            ask.key_id,
            event,
            ask.body_mac,
            ask.input_tokens,
            written,
            self.now + LEASE_US,
            parts,
        )
        return {"held": written}

    def _fitting(self, ask: Any, hard: list[Budget]) -> int | dict[str, Any]:
        def room(budget: Budget, *, with_held: bool) -> int:
            spent, held = self.window_of(budget.id, self.window(budget)[0])
            return budget.most - spent - (held if with_held else 0)

        def fits(written: int, *, with_held: bool) -> list[Budget]:
            """Those that do not bear it."""
            return [
                budget
                for budget in hard
                if self._amount(budget, ask.input_tokens, written) > room(budget, with_held=with_held)
            ]

        wanted = ask.max_output_tokens
        if not fits(wanted, with_held=True):
            return int(wanted)
        least = wanted if ask.max_output_given else min(1, wanted)
        if empty := fits(least, with_held=False):
            ends = [self.window(budget)[1] for budget in empty]
            known = [end for end in ends if end is not None]
            resets = max(known) if len(known) == len(ends) else None
            return {"error": "Denied", "code": "insufficient_quota", "soon": False, "resets": resets}
        written = next(n for n in range(wanted, least - 1, -1) if not fits(n, with_held=False))
        if fits(written, with_held=True):
            return {"error": "Denied", "code": "insufficient_quota", "soon": True}
        return written

    def _amount(self, budget: Budget, read: int, written: int) -> int:
        return read + written if budget.unit == "tokens" else most(read, written)

    def settle(self, id: str, read: int, cached: int, written: int) -> dict[str, Any]:
        """What must come back: {"first": bool, "amount": nano} or {"error": name}."""
        hold = self.holds[id]
        if hold.state == "settled":
            return {"first": False, "amount": hold.paid["money"]}
        live = self.live(hold.customer, hold.event)
        if (hold.customer, hold.event) in self.events or live not in (None, hold):
            hold.state = "released" if hold.state == "held" else hold.state
            return {"first": False, "amount": 0}
        paid = {"money": price(read, cached, written), "tokens": read + written}
        if hold.state != "held":
            for name, start in hold.parts:
                budget = self.budgets[name]
                total = sum(self.window_of(name, start)) + paid[budget.unit]
                if budget.hard and not budget.ended and total > budget.most:
                    return {"error": "Denied"}
        hold.state, hold.paid = "settled", paid
        self.events[hold.customer, hold.event] = (read, cached, written, hold.mac)
        for other in self.holds.values():
            if (other.customer, other.event, other.mac) == (hold.customer, hold.event, hold.mac):
                self.at_risk.discard(other.id)
        return {"first": True, "amount": paid["money"]}

    def reap(self) -> int:
        over = 0
        for hold in self.holds.values():
            if hold.state == "held":
                hold.lease = min(hold.lease, self.now + LEASE_US)
                if hold.lease <= self.now:
                    hold.state = "expired"
                    self.at_risk.add(hold.id)
                    over += 1
        return over
