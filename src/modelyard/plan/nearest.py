"""The published cases that are most like a run, so that a person can look at what happened to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .cases import Case, published
from .devices import find
from .utilisation import class_of, reported

# What counts as one step: a factor e^1.5 in size, e^3 in tokens, e^2 in devices, another class of them.
SIZE, TOKENS, DEVICES, CLASS = 1.5, 3.0, 2.0, 1.0


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A published case, the share of the peak that it reports, and how many steps it is away."""

    case: Case
    utilisation: float
    steps: float


def nearest(case: Case, count: int = 3) -> Sequence[Neighbour]:
    """The nearest cases, one of each family."""
    found: dict[str, Neighbour] = {}
    for other in published():
        share, steps = reported(other), distance(case, other)
        if share is None or steps is None:
            continue
        if other.family not in found or steps < found[other.family].steps:
            found[other.family] = Neighbour(other, share, steps)
    return sorted(found.values(), key=lambda one: one.steps)[:count]


def distance(a: Case, b: Case) -> float | None:
    """Steps between two cases; None where either has no size. A device nobody knows is of another class."""
    if not a.active or not b.active:
        return None
    classes = {class_of(device) if device else None for device in (find(a.hardware), find(b.hardware))}
    apart = [math.log(a.active / b.active) / SIZE, CLASS * (len(classes) > 1 or None in classes)]
    for mine, theirs, step in ((a.tokens, b.tokens, TOKENS), (a.devices, b.devices, DEVICES)):
        # What one of them does not tell counts as a step away.
        apart.append(math.log(mine / theirs) / step if mine and theirs else 1.0)
    return math.hypot(*apart)
