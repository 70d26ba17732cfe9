"""How many machines a load needs, so that 95 of 100 answers come in time: by simulating one of them."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from functools import lru_cache

from ..estimate.serving import Speed

REQUESTS = 1500  # simulated at least; the first tenth fills the machine and is not counted
LONG = 5.0  # limits that are simulated at least: a queue that grows without end has to pass the limit
REQUESTS_MOST = 20_000  # simulated at most
SLOTS = 64  # requests that an engine has under way at most
MOST = 4096  # machines


@dataclass(frozen=True, slots=True)
class Load:
    """Requests at the busiest time, their mean lengths in tokens, and how long 95 of 100 may take."""

    requests_per_s: float
    input_tokens: float
    output_tokens: float
    p95_s: float


@dataclass(frozen=True, slots=True)
class Capacity:
    """Machines that keep the limit, and what one of them then does."""

    machines: int
    p95_s: float
    busy: float
    """Share of its time that a machine works."""
    most_per_s: float
    """Requests that one machine takes at most, whatever they wait."""


@lru_cache(maxsize=512)
def machines(speed: Speed, load: Load, *, slots: int = SLOTS, seed: int = 0) -> Capacity | None:
    """The fewest machines that keep `load.p95_s`; None where requests alone do not keep it, or `MOST` do not.

    Requests come at random times (Poisson), are spread evenly, and are as long as exponential chance has it.
    """
    if alone_s(speed, load, slots=slots, seed=seed) > load.p95_s:
        return None
    most = most_per_s(speed, load.input_tokens, load.output_tokens, slots)

    def one_of(machines: int) -> tuple[float, float]:
        return simulate(speed, load, load.requests_per_s / machines, slots=slots, seed=seed)

    low = high = int(load.requests_per_s / most) + 1  # with fewer, the queue grows without end
    if low > MOST:
        return None
    while one_of(high)[0] > load.p95_s:
        if high == MOST:
            return None
        low, high = high + 1, min(high * 2, MOST)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if one_of(middle)[0] <= load.p95_s else (middle + 1, high)
    p95, busy = one_of(high)
    return Capacity(high, p95, busy, most)


def alone_s(speed: Speed, load: Load, *, slots: int = SLOTS, seed: int = 0) -> float:
    """Seconds within which 95 of 100 answers come that have a machine to themselves."""
    return simulate(speed, load, 1e-9, slots=slots, seed=seed)[0]


def most_per_s(speed: Speed, input_tokens: float, output_tokens: float, slots: int = SLOTS) -> float:
    """Requests a second of one machine when all slots are always full."""
    return 1 / (input_tokens / speed.prefill_tps + output_tokens / speed.decode_tps(slots))


def simulate(
    speed: Speed, load: Load, requests_per_s: float, *, slots: int = SLOTS, seed: int = 0
) -> tuple[float, float]:
    """(95th percentile of the seconds of an answer, share of the time at work) of one machine.

    As engines with continuous batching do: a waiting prompt is read before the next token is written for
    anyone, if a slot is free (arXiv:2309.06180, and Orca, OSDI 2022).
    """
    chance = random.Random(seed)
    arrivals, at = deque[tuple[float, int]](), 0.0
    requests = min(REQUESTS_MOST, max(REQUESTS, round(LONG * load.p95_s * requests_per_s)))
    for _ in range(requests):
        at += chance.expovariate(requests_per_s)
        arrivals.append((at, max(1, round(chance.expovariate(1 / load.output_tokens)))))
    read_s = load.input_tokens / speed.prefill_tps
    now = idle = 0.0
    going: list[list[float]] = []  # tokens left, when it came
    took: list[float] = []
    while arrivals or going:
        if not going and arrivals[0][0] > now:
            idle += arrivals[0][0] - now
            now = arrivals[0][0]
        if arrivals and arrivals[0][0] <= now and len(going) < slots:
            came, tokens = arrivals.popleft()
            now += read_s
            going.append([float(tokens), came])
            continue
        step = speed.step_s(len(going))
        steps = min(left for left, _ in going)
        if arrivals and len(going) < slots:
            steps = min(steps, max(1.0, -(-(arrivals[0][0] - now) // step)))
        now += steps * step
        for one in going:
            one[0] -= steps
        took += [now - came for left, came in going if left <= 0]
        going = [one for one in going if one[0] > 0]
    counted = sorted(took[requests // 10 :])
    return counted[int(len(counted) * 0.95)], 1 - idle / now
