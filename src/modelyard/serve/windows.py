"""The days and months in which budgets are counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

SPANS = ("ever", "day", "month")

_last: dict[tuple[str, str], Window] = {}  # most requests fall into the window of the one before

Window = tuple[int, int | None]
"""Its first microsecond, and the first after it; an endless one begins at 0."""


def window(span: str, timezone: str, at_us: int) -> Window:
    """The day or month around `at_us` in an IANA time zone; half-open, so each moment is in one."""
    if span == "ever":
        return 0, None
    found = _last.get((span, timezone))
    if found is None or found[1] is None or not found[0] <= at_us < found[1]:
        found = _last[span, timezone] = _window(span, ZoneInfo(timezone), at_us)
    return found


def _window(span: str, zone: ZoneInfo, at_us: int) -> Window:
    local = datetime.fromtimestamp(at_us // 1_000_000, zone)
    start = datetime(local.year, local.month, local.day if span == "day" else 1)
    after = start + timedelta(days=1 if span == "day" else 32)
    if span == "month":
        after = after.replace(day=1)
    return _us(start, zone), _us(after, zone)


def _us(local: datetime, zone: ZoneInfo) -> int:
    """A local time; one that a change of clocks leaves out is the moment of that change."""
    return int(local.replace(tzinfo=zone).astimezone(UTC).timestamp()) * 1_000_000
