"""Months in a time zone: half-open, without gaps, whatever the clocks do."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.bill.period import month, month_of, next_month, to_text, to_us
from modelyard.errors import ProjectError

ZONES = ["UTC", "Asia/Shanghai", "America/New_York", "America/Havana", "Pacific/Apia", "Africa/Cairo"]
MOMENTS = st.integers(0, 4_000_000_000_000_000)


@given(MOMENTS, st.sampled_from(ZONES))
def test_each_moment_is_in_one_month_and_the_next_begins_where_it_ends(at_us: int, zone: str) -> None:
    found = month_of(at_us, zone)
    assert found.start_us <= at_us < found.end_us
    assert month(found.label, zone) == found if found.label >= "1970-01" else True
    after = next_month(found, zone)
    assert after.start_us == found.end_us
    assert month_of(found.end_us - 1, zone) == found
    assert month_of(found.end_us, zone) == after


def test_a_month_begins_at_midnight_of_the_zone() -> None:
    start = datetime(2026, 11, 1, tzinfo=ZoneInfo("Asia/Shanghai"))
    assert month("2026-11", "Asia/Shanghai").start_us == to_us(start)
    assert (
        month_of(to_us(datetime(2026, 10, 31, 16, 0, tzinfo=ZoneInfo("UTC"))), "Asia/Shanghai").label
        == "2026-11"
    )


def test_a_month_with_a_change_of_clocks_is_an_hour_longer() -> None:
    hours = [
        (month("2026-11", zone).end_us - month("2026-11", zone).start_us) // 3_600_000_000
        for zone in ("UTC", "America/New_York")
    ]
    assert hours == [720, 721]


@given(MOMENTS)
def test_a_time_keeps_its_microsecond_as_text(at_us: int) -> None:
    assert to_us(datetime.fromisoformat(to_text(at_us))) == at_us


@pytest.mark.parametrize(
    "label", ["2026-13", "2026-1", "26-01", "2026-00", "", "2026-11 ", "２０２６-11", "1969-12"]
)
def test_what_is_no_month_is_told(label: str) -> None:
    with pytest.raises(ProjectError, match="no month"):
        month(label, "UTC")
