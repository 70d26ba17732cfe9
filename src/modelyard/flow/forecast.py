"""What the steps of a project are expected to take, told before the first one runs."""

from __future__ import annotations

from collections import defaultdict

from .. import machine
from ..data.settings import ANSWER
from ..project import Project
from ..records.yard import Yard
from .steps import left_out
from .tuning import minutes_of

# Seconds on two cores with native bf16 and VNNI, measured on the example pydesk with 13 candidates and
# nothing else on the cores; the second figure for AVX2 only, the search's own there with other work on them.
TYPICAL_S: dict[str, tuple[float, float]] = {
    "data.prepare": (5, 11),
    "data.index": (3, 5),
    "train.base": (11, 23),
    "train.tune": (12, 25),  # besides its budget: loading, measuring the precision, merging
    "optimize.convert": (68, 116),
    "verify.reference": (88, 219),
    "verify.measure": (325, 1100),
    "verify.race": (60, 230),
    "verify.lookup": (30, 80),
    "release.choose": (2, 2),
}
TYPICAL_TPS = (420, 190)  # of tuning the example's base


def forecast(project: Project, yard: Yard) -> list[tuple[str, float | None, str]]:
    """(step, seconds, where the number comes from) for each step; a sum over the step's nodes.

    A step that this yard has run before is expected to take as long as then. None: nobody can know.
    """
    before: dict[str, float] = defaultdict(float)
    seen: set[tuple[str, str]] = set()
    for record in yard.find():
        if record.settings.get("trial"):
            continue  # of a calibration, or of a search, which takes the minutes that it is given
        if (record.step, record.key) not in seen:
            seen.add((record.step, record.key))
            before[record.step] += record.seconds
    rows: list[tuple[str, float | None, str]] = []
    if ANSWER.name not in left_out(project):
        known = (before[ANSWER.name], "this yard's last run") if ANSWER.name in before else None
        rows.append((ANSWER.name, *(known or (None, "as fast as the larger model answers"))))
    for name, (fast, slow) in TYPICAL_S.items():
        if name in left_out(project):
            continue
        budget = minutes_of(project)
        seconds = fast if machine.native_bf16() else slow
        minutes = project.train.search.minutes if project.train.search else budget.minutes
        if name == "train.tune" and minutes:
            rows.append((name, seconds + minutes * 60, "the project's budget"))
        elif name in before:
            rows.append((name, before[name], "this yard's last run"))
        else:
            if name == "train.tune" and budget.tokens:
                seconds += budget.tokens / TYPICAL_TPS[not machine.native_bf16()]
            rows.append((name, seconds, "the example on such a machine"))
    return rows
