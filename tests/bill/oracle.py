"""What an invoice must come to, written from the order and from `anchors/business.md`, not from the code.

It is slow on purpose: it looks at the full list of events, and hands out the quota token by token.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo


@dataclass(frozen=True)
class Version:
    id: str
    plan: str
    monthly: str
    included: int
    input: str
    cached: str
    output: str


@dataclass(frozen=True)
class Sums:
    """Per (month, version, what): tokens charged for, and exact money; and each event's list and charge."""

    charged: dict[tuple[str, str, str], tuple[int, Fraction]]
    events: dict[str, tuple[Fraction, Fraction]]


def expected(
    told: list[dict[str, Any]],
    start_us: int,
    changes: list[tuple[int, Version]],
    in_place_of: dict[str, Version],
    timezone: str,
    cutoff_us: int,
) -> Sums:
    """`changes`: since when which version, the first at `start_us`; all events are of one source."""

    def month(at_us: int) -> str:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)
        return f"{moment.astimezone(ZoneInfo(timezone)):%Y-%m}"

    def final(version: Version) -> Version:
        while version.id in in_place_of:
            version = in_place_of[version.id]
        return version

    def in_force(at_us: int) -> Version:
        return [version for since, version in changes if since <= at_us][-1]

    events = list({one["id"]: one for one in told}.values())  # the same id again is the same event
    for one in events:
        moment = datetime.fromisoformat(one["time"]) - datetime(1970, 1, 1, tzinfo=UTC)
        one["at"] = moment // timedelta(microseconds=1)
    dead = set()
    for one in events:
        of = one["data"].get("refers_to")
        if of is not None:
            dead.add(of)
            rivals = [other for other in events if other["data"].get("refers_to") == of and other is not one]
            if any(r["data"]["kind"] == "void" or r["id"] > one["id"] for r in rivals):
                dead.add(one["id"])
    alive = [one for one in events if one["data"].get("kind") != "void" and one["id"] not in dead]

    money: dict[tuple[str, str, str], list[Any]] = {}
    prices: dict[str, tuple[Fraction, Fraction]] = {}
    left: dict[tuple[str, str], int] = {}
    first = datetime.fromtimestamp(start_us // 1_000_000, ZoneInfo(timezone)).replace(day=1)
    while (label := f"{first:%Y-%m}") <= month(cutoff_us):
        for at, (since, version) in enumerate(changes):
            until = changes[at + 1][0] if at + 1 < len(changes) else None
            touches = since <= cutoff_us and month(since) <= label and (until is None or until > since)
            if touches and until is not None:
                touches = label <= month(until - 1)
            plan = (label, version.plan)
            if touches and plan not in left:
                left[plan] = final(version).included
                fee = Fraction(final(version).monthly)
                if fee:
                    money[label, final(version).id, "monthly"] = [1, fee]
        first = (first + timedelta(days=32)).replace(day=1)
    for one in sorted(alive, key=lambda e: (e["at"], e["id"])):
        data, label = one["data"], month(one["at"])
        priced = final(in_force(one["at"]))
        plan = (label, in_force(one["at"]).plan)
        cached = data.get("cached_tokens", 0)
        total = charge = Fraction(0)
        for what, many, per_million in (
            ("input", data["input_tokens"] - cached, priced.input),
            ("cached", cached, priced.cached),
            ("output", data["output_tokens"], priced.output),
        ):
            price = Fraction(per_million) / 1_000_000
            for _ in range(many):
                total += price
                if left[plan] > 0:
                    left[plan] -= 1
                    continue
                charge += price
                line = money.setdefault((label, priced.id, what), [0, Fraction(0)])
                line[0] += 1
                line[1] += price
        prices[one["id"]] = (total, charge)
    return Sums({key: (many, amount) for key, (many, amount) in money.items()}, prices)


def rounded(amount: Fraction, digits: int) -> Decimal:
    """Half up, away from zero, by the decimal module."""
    exact = Decimal(amount.numerator) / Decimal(amount.denominator)
    return exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
