"""The time as records write it."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime


def now() -> str:
    """UTC, to the millisecond, such as 2026-11-24T22:10:58.123Z; sorts as text."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def written(at_us: int) -> str:
    """A moment in microseconds as `now` would have written it, to the second."""
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).isoformat().replace("+00:00", "Z")


def age_s(since: str) -> float:
    """Seconds from `since`, a time written by `now`."""
    return (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()


def today() -> date:
    """The day in UTC."""
    return datetime.now(UTC).date()


def now_us() -> int:
    """Microseconds since 1970 in UTC, as the service and the business count time."""
    return time.time_ns() // 1000
