"""The days and months in which budgets are counted."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from ..bill.period import month_of, to_us

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
        found = _last[span, timezone] = _window(span, timezone, at_us)
    return found


def _window(span: str, timezone: str, at_us: int) -> Window:
    if span == "month":
        month = month_of(at_us, timezone)
        return month.start_us, month.end_us
    zone = ZoneInfo(timezone)
    local = datetime.fromtimestamp(at_us // 1_000_000, zone)
    day = datetime(local.year, local.month, local.day)
    # A midnight that a change of clocks leaves out is the moment of that change.
    return to_us(day.replace(tzinfo=zone)), to_us((day + timedelta(days=1)).replace(tzinfo=zone))
