"""How likely gates are thought to hold on other questions, and how often they then do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import pytest
from tests.release.stage import share, unmeasured
from tests.release.test_chance import drawn

from modelyard import intervals
from modelyard.records.shapes import Fact
from modelyard.release.again import SURE, chance
from modelyard.release.gates import judge
from modelyard.release.settings import Excuse, Gate

MIN = {"quality.answerable": Gate(min=0.6)}
LOSS = {"quality.task": Gate(max_loss=0.08)}
RUNS = 600


def answerable(draws: np.random.Generator, truth: float) -> dict[str, Fact]:
    """A share as measured on 300 questions in groups."""
    return {"quality.answerable": drawn(draws, truth, 300)}


def lost(draws: np.random.Generator, truth: float) -> dict[str, Fact]:
    """A loss as measured on 300 questions of two kinds in groups of six, a little alike among themselves."""
    of_group = draws.beta(19 * truth, 19 * (1 - truth), 50)
    right = 1.0 - (draws.random((50, 6)) < of_group[:, None]).astype(float).ravel()
    groups = [str(at // 6) for at in range(300)]
    found = intervals.paired_difference([1.0] * 300, list(right), [at % 4 > 0 for at in range(300)], groups)
    return {
        "loss.task": Fact(unit="share", **found.told()),
        "loss.error": Fact(found.error, "share"),
    }


@pytest.mark.parametrize(
    ("measured", "gates", "low", "high"), [(answerable, MIN, 0.6, 0.9), (lost, LOSS, 0.002, 0.06)]
)
def test_what_is_sure_to_hold_on_other_questions_does_and_what_is_not_does_less_often(
    measured: Callable[..., dict[str, Fact]],
    gates: dict[str, Gate],
    low: float,
    high: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 200)
    draws = np.random.default_rng(3)
    sure, unsure = [], []
    for truth in draws.uniform(low, high, RUNS):
        facts = measured(draws, truth)
        if all(one.passed for one in judge(facts, gates)):
            again = all(one.passed for one in judge(measured(draws, truth), gates))
            (sure if chance(facts, gates) >= SURE else unsure).append(again)
    assert min(len(sure), len(unsure)) > 30
    assert sum(sure) / len(sure) >= SURE
    assert sum(unsure) / len(unsure) < SURE


def test_hardly_any_answer_that_differs_makes_a_loss_sure_though_its_bounds_are_wide() -> None:
    facts = {
        "loss.task": Fact(0.004, "share", low=-0.04, high=0.052, level=0.95),
        "loss.error": Fact(0.008, "share"),
    }
    assert chance(facts, LOSS) > 0.9
    assert chance(facts | {"loss.error": Fact(0.02, "share")}, LOSS) < SURE
    assert chance(facts | {"loss.error": unmeasured()}, LOSS) < SURE  # then the bounds' width stands for it


def test_a_gate_that_is_not_kept_has_no_chance_and_the_least_likely_counts() -> None:
    gates = {"quality.task": Gate(min=0.6), "safety.false_answer": Gate(max=0.5)}
    facts = {"quality.task": share(0.9), "safety.false_answer": share(0.46)}
    assert chance(facts, gates) == pytest.approx(
        chance({"safety.false_answer": share(0.46)}, {"safety.false_answer": gates["safety.false_answer"]})
    )
    assert chance({"quality.task": share(0.5)}, gates) == 0
    assert chance({}, gates) == 0


def test_what_report_does_not_ask_again_and_what_somebody_answers_for_cost_no_chance() -> None:
    assert chance({"latency.ttft_p95_s.c1": Fact(2.99, "s")}, {"latency.ttft_p95_s.c1": Gate(max=3)}) == 1
    excuse = Excuse(by="Ada", reason="a pilot among friends", until=date(2099, 1, 1))
    assert chance({"quality.task": share(0.5)}, {"quality.task": Gate(min=0.6, excuse=excuse)}) == 1
