"""Calendar months in a contract's time zone, half-open, as microseconds since 1970."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from ..errors import ProjectError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Period:
    """A month [start, end), such as "2026-11"."""

    label: str
    start_us: int
    end_us: int


def to_us(moment: datetime) -> int:
    """An aware time as microseconds since 1970, without passing through a float."""
    return (moment - _EPOCH) // _MICROSECOND


def to_text(at_us: int) -> str:
    """Microseconds since 1970 as UTC to the microsecond, such as 2026-11-24T22:10:58.123456Z."""
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def month(label: str, timezone: str) -> Period:
    """The month "YYYY-MM" in a zone. Raises ProjectError for what is no month."""
    if not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", label) or not 1970 <= int(label[:4]) <= 9998:
        raise ProjectError(f"{label!r} is no month", try_="YYYY-MM, such as 2026-11")
    return _month(int(label[:4]), int(label[5:]), timezone)


def month_of(at_us: int, timezone: str) -> Period:
    """The month that a moment lies in, by the clock of a zone."""
    here = (_EPOCH + timedelta(microseconds=at_us)).astimezone(ZoneInfo(timezone))
    found = _month(here.year, here.month, timezone)
    # Where a clock is set back over midnight of the first, its reading alone does not tell the month.
    if at_us < found.start_us:
        return _month(*_step(here.year, here.month, -1), timezone)
    if at_us >= found.end_us:
        return _month(*_step(here.year, here.month, 1), timezone)
    return found


def next_month(period: Period, timezone: str) -> Period:
    """The month after one."""
    return _month(*_step(int(period.label[:4]), int(period.label[5:]), 1), timezone)


@lru_cache(maxsize=4096)  # every event asks for its month
def _month(year: int, number: int, timezone: str) -> Period:
    zone = ZoneInfo(timezone)
    start = datetime(year, number, 1, tzinfo=zone)
    end = datetime(*_step(year, number, 1), 1, tzinfo=zone)
    return Period(f"{year:04d}-{number:02d}", to_us(start), to_us(end))


def _step(year: int, number: int, by: int) -> tuple[int, int]:
    months = year * 12 + number - 1 + by
    return months // 12, months % 12 + 1
