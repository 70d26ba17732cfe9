"""How likely a verdict's gates hold once more, on as many other questions: what `report` will ask."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from statistics import NormalDist

from ..records.shapes import Fact
from .gates import LOSS_FACT, Judgement, judge
from .settings import Gate

# Facts that come from the questions of a split: never carried from one split to another.
BY_SPLIT = ("quality.", "safety.", "gain.", "loss.")
LOSS_ERROR = "loss.error"
SURE = 0.8  # a release refused on `report` costs new pairs; a dearer candidate costs some percent
# A loss's bound moves by so many errors of its estimate: the more answers differ, the wider is the interval,
# too. Simulated on 300 questions: 1.24 to 1.57 at losses of 3% to 6%, groups alike by 0.02 to 0.1.
MOVES = 1.5


def chance(facts: Mapping[str, Fact], gates: Mapping[str, Gate]) -> float:
    """The chance (0 to 1) that the least likely of the gates on a split's questions holds on others.

    A gate that is kept is kept again while its bound moves by less than lies between bound and limit. The
    bound moves with the estimate, whose error then is independent of that now, and as large (the predictive
    distribution of a replication under a flat prior: Goodman 1992).
    """
    asked = [one for one in judge(facts, gates) if one.gate.startswith(BY_SPLIT)]
    return min((_again(one, facts) for one in asked), default=1.0)


def _again(found: Judgement, facts: Mapping[str, Fact]) -> float:
    if found.excused:
        return 1.0
    if not found.passed or found.bound is None or found.value is None:
        return 0.0
    lost, known = found.kind == "max_loss", facts.get(LOSS_ERROR)
    if lost and known is not None and known.value is not None:
        error = MOVES * known.value  # its bounds are wider than that where hardly any answer differs
    else:
        level = facts[LOSS_FACT if lost else found.gate].level or 0.0
        error = level and abs(found.bound - found.value) / NormalDist().inv_cdf((1 + level) / 2)
    room = abs(found.limit - found.bound)
    return NormalDist().cdf(room / (error * sqrt(2))) if error else 1.0
