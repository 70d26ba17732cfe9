"""Requests and tokens a minute, and requests at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.serve.limits import FORGET_S, Limits, Pass, TooMany


class Watch:
    def __init__(self) -> None:
        self.s = 1000.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def limits(watch: Watch) -> Limits:
    return Limits(watch)


def enter(limits: Limits, tokens: int = 10, key: str = "key-1", **most: Any) -> Pass:
    given = {"requests_per_minute": None, "tokens_per_minute": None, "concurrency": None, **most}
    return limits.enter(key, tokens, **given)


def test_requests_a_minute_are_kept_and_come_back_evenly(limits: Limits, watch: Watch) -> None:
    for left in (2, 1, 0):
        assert enter(limits, requests_per_minute=3).headers["x-ratelimit-remaining-requests"] == str(left)
    with pytest.raises(TooMany) as refused:
        enter(limits, requests_per_minute=3)
    assert refused.value.http_status == 429
    assert refused.value.code == "rate_limit_exceeded"
    assert refused.value.retry_after_s == pytest.approx(20)
    assert refused.value.headers["x-ratelimit-reset-requests"] == "1m0s"
    watch.s += 19.9
    with pytest.raises(TooMany):
        enter(limits, requests_per_minute=3)
    watch.s += 0.2
    enter(limits, requests_per_minute=3)


def test_tokens_that_were_not_used_flow_back(limits: Limits) -> None:
    first = enter(limits, 80, tokens_per_minute=100)
    with pytest.raises(TooMany):
        enter(limits, 30, tokens_per_minute=100)
    assert limits.leave(first, 50)["x-ratelimit-remaining-tokens"] == "50"
    enter(limits, 50, tokens_per_minute=100)


def test_a_request_larger_than_a_minute_never_passes(limits: Limits, watch: Watch) -> None:
    for _ in range(3):
        with pytest.raises(TooMany) as refused:
            enter(limits, 101, tokens_per_minute=100)
        watch.s += refused.value.retry_after_s


def test_so_many_at_once_and_no_more(limits: Limits) -> None:
    passed = [enter(limits, concurrency=2) for _ in range(2)]
    with pytest.raises(TooMany):
        enter(limits, concurrency=2)
    limits.leave(passed[0], 10)
    enter(limits, concurrency=2)


def test_a_refusal_takes_nothing(limits: Limits) -> None:
    with pytest.raises(TooMany):
        enter(limits, 200, requests_per_minute=1, tokens_per_minute=100, concurrency=1)
    enter(limits, 100, requests_per_minute=1, tokens_per_minute=100, concurrency=1)


def test_one_key_does_not_use_up_anothers(limits: Limits) -> None:
    enter(limits, key="key-1", requests_per_minute=1)
    enter(limits, key="key-2", requests_per_minute=1)


def test_without_limits_everything_passes_and_no_header_is_given(limits: Limits) -> None:
    assert all(enter(limits, 10**9).headers == {} for _ in range(1000))


def test_a_lowered_limit_holds_at_once(limits: Limits) -> None:
    enter(limits, requests_per_minute=100)
    enter(limits, requests_per_minute=1)
    with pytest.raises(TooMany):
        enter(limits, requests_per_minute=1)


def test_still_keys_are_forgotten_but_not_those_under_way(limits: Limits, watch: Watch) -> None:
    for at in range(100):
        limits.leave(enter(limits, key=f"key-{at}", concurrency=1), 0)
    waits = enter(limits, key="waits", concurrency=1)
    watch.s += FORGET_S + 1
    enter(limits, key="new")
    assert set(limits._of) == {"waits", "new"}
    with pytest.raises(TooMany):
        enter(limits, key="waits", concurrency=1)
    limits.leave(waits, 0)


def test_a_clock_that_falls_back_gives_and_takes_nothing(limits: Limits, watch: Watch) -> None:
    enter(limits, requests_per_minute=2)
    watch.s -= 500
    enter(limits, requests_per_minute=2)
    with pytest.raises(TooMany):
        enter(limits, requests_per_minute=2)


@given(
    most=st.integers(1, 60),
    waits=st.lists(st.floats(0, 30), min_size=1, max_size=120),
)
def test_any_minute_gives_at_most_twice_the_limit(most: int, waits: list[float]) -> None:
    """A full bucket at its start, and what flows in during it."""
    watch = Watch()
    limits = Limits(watch)
    passed = []
    for wait in waits:
        watch.s += wait
        try:
            enter(limits, requests_per_minute=most)
        except TooMany as refused:
            watch.s += refused.retry_after_s + 1e-6  # what Retry-After says is enough
            enter(limits, requests_per_minute=most)
        passed.append(watch.s)
    for start in passed:
        assert len([at for at in passed if start <= at < start + 60]) <= 2 * most
