"""How many machines a load needs, so that 95 of 100 answers come in time: by simulating one of them."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from functools import lru_cache

from ..estimate.serving import Speed

REQUESTS = 1500  # simulated; the first tenth fills the machine and is not counted
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
    """The fewest machines that keep `load.p95_s`; None where one alone request does not keep it.

    Requests come at random times (Poisson), are spread evenly, and are as long as exponential chance has it.
    """
    alone, _ = simulate(speed, load, 1e-9, slots=slots, seed=seed)
    if alone > load.p95_s:
        return None
    most = most_per_s(speed, load.input_tokens, load.output_tokens, slots)
    low = max(1, int(load.requests_per_s / most))
    high = low
    while simulate(speed, load, load.requests_per_s / high, slots=slots, seed=seed)[0] > load.p95_s:
        low, high = high + 1, high * 2
        if high > MOST:
            return None
    while low < high:
        middle = (low + high) // 2
        kept = simulate(speed, load, load.requests_per_s / middle, slots=slots, seed=seed)[0] <= load.p95_s
        low, high = (low, middle) if kept else (middle + 1, high)
    p95, busy = simulate(speed, load, load.requests_per_s / high, slots=slots, seed=seed)
    return Capacity(high, p95, busy, most)


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
    for _ in range(REQUESTS):
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
    counted = sorted(took[REQUESTS // 10 :])
    return counted[int(len(counted) * 0.95)], 1 - idle / now
