"""Requests and tokens a minute, and requests at once, of each key; in the memory of the one gateway.

A bucket holds a minute's worth and fills evenly, so a key that was still may use its minute at once, and
any two minutes together give at most twice the limit.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import TooMany

__all__ = ["Bucket", "Limits", "Pass", "TooMany"]

MINUTE_S = 60.0
FORGET_S = 600.0  # a key that was still for so long has full buckets, so nothing is lost with them
BUSY_S = 1.0  # what Retry-After says when only requests under way stand in the way


@dataclass(slots=True)
class Bucket:
    """So much a minute, filling evenly; never more than a minute's worth."""

    most: int
    level: float
    at: float

    def fill(self, now: float) -> None:
        """Add what has flowed in since the last time; a clock that stands or falls adds nothing."""
        if now > self.at:
            self.level = min(float(self.most), self.level + (now - self.at) * self.most / MINUTE_S)
            self.at = now

    def wait(self, amount: float) -> float:
        """Seconds until `amount` is there."""
        return max(0.0, amount - self.level) * MINUTE_S / self.most

    def headers(self, of: str) -> dict[str, str]:
        """The headers of OpenAI's clients: limit, what is left, and until when it is full again."""
        return {
            f"x-ratelimit-limit-{of}": str(self.most),
            f"x-ratelimit-remaining-{of}": str(max(0, math.floor(self.level))),
            f"x-ratelimit-reset-{of}": _spoken(self.wait(self.most)),
        }


@dataclass(slots=True)
class _Use:
    requests: Bucket | None = None
    tokens: Bucket | None = None
    under_way: int = 0
    seen: float = 0.0


@dataclass(frozen=True, slots=True)
class Pass:
    """A request that may go on. It must come back through `leave`."""

    key_id: str
    tokens: int
    headers: dict[str, str] = field(default_factory=dict)


class Limits:
    """The buckets of all keys. Any thread may call."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._of: dict[str, _Use] = {}
        self._swept = clock()

    def enter(
        self,
        key_id: str,
        tokens: int,
        *,
        requests_per_minute: int | None,
        tokens_per_minute: int | None,
        concurrency: int | None,
    ) -> Pass:
        """Take one request, and the most tokens that it can need, from the key's buckets.

        Raises TooMany, having taken nothing. A request larger than a whole minute's tokens never passes.
        """
        with self._lock:
            now = self._clock()
            self._sweep(now)
            use = self._of.setdefault(key_id, _Use())
            use.seen = now
            use.requests = _fitted(use.requests, requests_per_minute, now)
            use.tokens = _fitted(use.tokens, tokens_per_minute, now)
            self._check(use, tokens, concurrency)
            if use.requests is not None:
                use.requests.level -= 1
            if use.tokens is not None:
                use.tokens.level -= tokens
            use.under_way += 1
            return Pass(key_id, tokens, _headers(use))

    def leave(self, passed: Pass, used_tokens: int) -> dict[str, str]:
        """A request is over: what it did not use flows back. Returns the headers as they are now."""
        with self._lock:
            use = self._of[passed.key_id]
            use.under_way -= 1
            use.seen = now = self._clock()
            if use.requests is not None:
                use.requests.fill(now)
            if use.tokens is not None:
                use.tokens.fill(now)
                back = max(0, passed.tokens - used_tokens)
                use.tokens.level = min(float(use.tokens.most), use.tokens.level + back)
            return _headers(use)

    def _check(self, use: _Use, tokens: int, concurrency: int | None) -> None:
        if concurrency is not None and use.under_way >= concurrency:
            raise TooMany(
                f"this key has {concurrency} requests under way, which is its limit",
                retry_after_s=BUSY_S,
                headers=_headers(use),
            )
        if use.requests is not None and use.requests.level < 1:
            raise TooMany(
                f"this key may ask {use.requests.most} times a minute",
                retry_after_s=use.requests.wait(1),
                headers=_headers(use),
            )
        if use.tokens is not None and use.tokens.level < tokens:
            larger = tokens > use.tokens.most
            raise TooMany(
                f"this key may use {use.tokens.most} tokens a minute, and this request can need {tokens}",
                retry_after_s=MINUTE_S if larger else use.tokens.wait(tokens),
                headers=_headers(use),
            )

    def _sweep(self, now: float) -> None:
        """Forget keys that were still, so that memory does not grow with every key that ever asked."""
        if now - self._swept < FORGET_S:
            return
        self._swept = now
        still = [id for id, use in self._of.items() if not use.under_way and now - use.seen >= FORGET_S]
        for id in still:
            del self._of[id]


def _fitted(bucket: Bucket | None, most: int | None, now: float) -> Bucket | None:
    """The bucket, filled, and of the size that the key has now."""
    if most is None:
        return None
    if bucket is None:
        return Bucket(most, float(most), now)
    bucket.fill(now)
    if bucket.most != most:
        bucket.level, bucket.most = min(bucket.level, float(most)), most
    return bucket


def _headers(use: _Use) -> dict[str, str]:
    found: dict[str, str] = {}
    if use.requests is not None:
        found |= use.requests.headers("requests")
    if use.tokens is not None:
        found |= use.tokens.headers("tokens")
    return found


def _spoken(seconds: float) -> str:
    """A duration as OpenAI writes it, such as 1m30s, 6s or 120ms."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    whole = math.ceil(seconds)
    minutes, rest = divmod(whole, 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
