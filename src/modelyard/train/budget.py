"""The plan of a run: made once, before its first step, and kept so that a resumed run follows it too."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import RecordError
from .fit import Cut
from .saving import write_json

NAME = "plan.json"
# The speed is measured on about this share of the minutes, within these limits in seconds.
MEASURED_SHARE, MEASURED_MIN_S, MEASURED_MAX_S = 0.02, 2.0, 10.0
STEPS_MIN = 3  # counted: the second step may still pay for warming up
RESERVE = 0.05  # of the minutes: what is asked before and after, checkpoints, merging, a busier machine
# Loading and measuring count as part of the minutes, but never take more than this share of them.
SPENT_SHARE_MAX = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do: `tokens` in `steps` optimizer steps, a checkpoint after `every` of them.

    A step has `rows` rows at least. The choices are (name, value, why).
    """

    precision: str
    seed: int
    tokens: int
    steps: int
    rows: int
    every: int
    cut: Cut
    choices: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens per second of whole steps, and the seconds that measuring took."""

    tokens_per_s: float
    seconds: float


def measure(
    step: Callable[[int], int], minutes: float, agree: Callable[[bool], bool] = lambda told: told
) -> Speed:
    """The median speed of trial steps; `step(n)` makes the nth and returns its tokens.

    `agree`: where several processes step together, whether they all go on.
    """
    limit = min(MEASURED_MAX_S, max(MEASURED_MIN_S, MEASURED_SHARE * minutes * 60))
    start = time.perf_counter()
    speeds: list[float] = []
    number = 0
    while agree(len(speeds) < STEPS_MIN or time.perf_counter() - start < limit):
        begun = time.perf_counter()
        tokens = step(number)
        if number:  # the first step pays for warming up
            speeds.append(tokens / (time.perf_counter() - begun))
        number += 1
    return Speed(statistics.median(speeds), time.perf_counter() - start)


def tokens(minutes: float, speed: Speed, spent_s: float, before_s: float = 0.0, there: int = 0) -> int:
    """Tokens that fit in `minutes`, of which `spent_s` seconds are gone already.

    Each of all tokens that are `there` takes `before_s` seconds more when it is taken first.
    """
    whole = minutes * 60
    left = whole * (1 - RESERVE) - min(spent_s, SPENT_SHARE_MAX * whole)
    once = left / (1 / speed.tokens_per_s + before_s)
    many = (left - before_s * there) * speed.tokens_per_s
    return max(1, int(once if once < there else many))


def save(plan: Plan, state: Path) -> None:
    """Keep the plan in `state`."""
    write_json(state / NAME, asdict(plan))


def load(state: Path) -> Plan | None:
    """The plan that an earlier start of this run made."""
    path = state / NAME
    if not path.is_file():
        return None
    try:
        kept = json.loads(path.read_text("utf-8"))
        cut = Cut(**kept.pop("cut"))
        choices = tuple((str(name), str(value), str(why)) for name, value, why in kept.pop("choices"))
        return Plan(**kept, cut=cut, choices=choices)
    except (ValueError, TypeError, KeyError):
        raise RecordError(
            "the plan of this run cannot be read", where=str(path), try_="remove that folder"
        ) from None
