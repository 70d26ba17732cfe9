"""How often chance lets a candidate through that is exactly at the limit: the search as a whole, simulated.

The real functions that throw out, order, measure and choose are driven with answers that are drawn; what they
look at grows from 48 questions to 300 and to 400 others, and several candidates are tried.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from modelyard import intervals
from modelyard.records.shapes import Fact
from modelyard.release.choose import Verdict, cheaper, holds, pick, queue
from modelyard.release.gates import judge
from modelyard.release.settings import Gate

LIMIT = 0.4
GATES = {"quality.answerable": Gate(min=LIMIT)}
GROUPS = 40
RUNS = 250
CANDIDATES = 6
MOST = 0.06


def drawn(chance: np.random.Generator, truth: float, items: int) -> Fact:
    """The share of right answers as it is measured: groups of questions, alike among themselves."""
    size = items // GROUPS + 1
    spread = 9.0  # a correlation of 0.1 within groups
    of_group = chance.beta(truth * spread, (1 - truth) * spread, GROUPS)
    right = (chance.random((GROUPS, size)) < of_group[:, None]).astype(float).ravel()[:items]
    groups = np.repeat(np.arange(GROUPS).astype(str), size)[:items]
    found = intervals.share(list(right), list(groups))
    return Fact(found.value, "share", n=items, low=found.low, high=found.high, level=0.95)


def verdict(at: int, fidelity: str, facts: Mapping[str, Fact]) -> Verdict:
    """A verdict of the candidate `at`; the later, the dearer."""
    sure = {name: Fact(0.0, "") for name in ("parity.identity", "parity.fault", "parity.kl")}
    cost = {"cost.usd_per_1k_answers": Fact(1.0 + at, "USD/1k answers")}
    none = {"quality.answerable": Fact(None, "share", why="a screen asks no questions")}
    return Verdict(
        f"{fidelity}{at}",
        str(at),
        {"format": "gguf", "type": "Q4_0", "model": "m"},
        "llamacpp",
        2,
        fidelity,
        "select",
        True,
        8,
        {**none, **sure, **cost, **facts},
        {"parity.fault": 0.1, "parity.kl": 1.0},
    )


def released(chance: np.random.Generator, truths: list[float]) -> int | None:
    """The candidate that a search releases, as flow.search walks it; None where it is refused."""
    screens = [verdict(at, "screen", {}) for at in range(len(truths))]

    def measured(v: Verdict, fidelity: str, items: int) -> Verdict:
        at = int(v.candidate)
        return verdict(at, fidelity, {"quality.answerable": drawn(chance, truths[at], items)})

    partials = [measured(v, "partial", 48) for v in cheaper(screens, GATES)]
    fulls: list[Verdict] = []
    for v in queue(partials, GATES)[:4]:
        if sum(holds(full, GATES) for full in fulls) == 2:
            break
        fulls.append(measured(v, "full", 300))
    winner = pick(fulls, GATES).winner
    if winner is None:
        return None
    report = measured(winner, "report", 400)
    kept = all(one.passed for one in judge(report.facts, GATES))
    return int(winner.candidate) if kept else None


def test_a_candidate_exactly_at_the_limit_passes_at_most_one_time_in_sixteen() -> None:
    chance = np.random.default_rng(7)
    passed = sum(released(chance, [LIMIT] * CANDIDATES) is not None for _ in range(RUNS))
    # Three standard errors of a share of 2.5% over these runs are 3 points.
    assert passed / RUNS <= MOST


def test_a_candidate_well_above_the_limit_passes() -> None:
    chance = np.random.default_rng(8)
    truths = [LIMIT - 0.1, LIMIT - 0.05, LIMIT + 0.2, LIMIT + 0.2, LIMIT + 0.2, LIMIT + 0.2]
    found = [released(chance, truths) for _ in range(40)]
    assert sum(one is not None and one >= 2 for one in found) >= 38


@pytest.mark.parametrize("items", [48, 300, 400])
def test_one_look_alone_lets_through_what_its_interval_says(items: int) -> None:
    chance = np.random.default_rng(items)
    kept = [
        all(one.passed for one in judge({"quality.answerable": drawn(chance, LIMIT, items)}, GATES))
        for _ in range(RUNS)
    ]
    assert sum(kept) / RUNS <= MOST
