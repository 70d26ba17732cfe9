"""Gates hold or not, by the number that the design names."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.release.stage import LIMITS, facts, share, unmeasured

from modelyard.records.shapes import Fact
from modelyard.release.gates import always, clearly_failed, judge
from modelyard.release.settings import ChooseSettings, Gate, Release, ended, gates_for

DAY = date(2026, 11, 27)


def one(fact: Fact, gate: Gate, name: str = "quality.task") -> bool:
    """Whether the gate holds."""
    (found,) = judge({name: fact}, {name: gate})
    return found.passed


def test_a_share_must_keep_a_least_value_with_its_lower_bound() -> None:
    assert one(share(0.45), Gate(min=0.4))
    assert not one(share(0.42), Gate(min=0.4))


def test_a_share_must_keep_a_largest_value_with_its_upper_bound() -> None:
    assert one(share(0.25), Gate(max=0.3), "safety.false_answer")
    assert not one(share(0.28), Gate(max=0.3), "safety.false_answer")


def test_other_units_are_judged_by_their_value() -> None:
    fact = Fact(0.9, "nats/token", low=0.5, high=1.5, level=0.95)
    assert one(fact, Gate(max=1.0), "parity.kl")


def test_a_loss_is_judged_by_the_upper_bound_of_the_paired_difference() -> None:
    gates = {"quality.task": Gate(max_loss=0.05)}
    assert judge({"loss.task": Fact(0.01, "share", low=-0.02, high=0.04)}, gates)[0].passed
    assert not judge({"loss.task": Fact(0.01, "share", low=-0.04, high=0.06)}, gates)[0].passed


def test_a_loss_that_too_few_questions_leave_open_is_called_undecided_and_fails() -> None:
    gates = {"quality.task": Gate(max_loss=0.05)}
    open_ = Fact(0.0, "share", low=-0.1, high=0.1, level=0.95, why="100 questions in 20 groups")
    (undecided,) = judge({"loss.task": open_}, gates)
    (worse,) = judge({"loss.task": Fact(0.07, "share", low=0.01, high=0.1, level=0.95)}, gates)
    assert not undecided.passed
    assert "undecided" in undecided.why
    assert "20 groups" in undecided.why
    assert "undecided" not in worse.why


@pytest.mark.parametrize("gate", [Gate(min=0.0), Gate(max=1.0), Gate(max_loss=1.0)])
def test_what_was_not_measured_is_not_kept_and_says_why(gate: Gate) -> None:
    for found in ({}, {"quality.task": unmeasured(), "loss.task": unmeasured()}):
        (judgement,) = judge(found, {"quality.task": gate})
        assert not judgement.passed
        assert judgement.value is None
        assert judgement.why.startswith("unmeasured: ")


@given(st.floats(0, 1), st.floats(0, 0.5), st.floats(0, 1), st.booleans())
def test_what_a_screen_fails_for_certain_fails_in_full(
    value: float, spread: float, limit: float, least: bool
) -> None:
    gates = {"quality.task": Gate(min=limit) if least else Gate(max=limit)}
    found = {"quality.task": share(value, spread)}
    if clearly_failed(found, gates):
        assert not judge(found, gates)[0].passed


def test_a_screen_does_not_fail_what_is_measured_later_but_does_what_it_should_have_measured() -> None:
    assert clearly_failed({}, {"quality.grounded": Gate(min=0.5)}) == []
    assert clearly_failed({}, {"latency.ttft_p95_s.c1": Gate(max=3)}) == []
    assert clearly_failed({}, {"memory.peak_gib": Gate(max=3)})
    assert clearly_failed({"quality.task": share(0.38)}, {"quality.task": Gate(min=0.4)}) == []
    assert clearly_failed({"quality.task": share(0.3)}, {"quality.task": Gate(min=0.4)})


@pytest.mark.parametrize("name", ["parity.identity", "parity.fault", "parity.kl"])
def test_parity_is_always_a_gate(name: str) -> None:
    wrong = facts() | {name: Fact(5.0, "nats")}
    assert [j.gate for j in judge(wrong, always(LIMITS)) if not j.passed] == [name]


@pytest.mark.parametrize("gate", [{}, {"min": 0.1, "max": 0.2}, {"least": 1}, {"max_loss": -0.1}])
def test_a_gate_has_exactly_one_limit(gate: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Gate.model_validate(gate)


def test_a_gate_on_no_fact_names_the_nearest() -> None:
    with pytest.raises(ValidationError, match="did you mean quality"):
        Release.model_validate({"gates": {"quality.tsk": {"min": 0.4}}})
    with pytest.raises(ValidationError, match="max_loss is measured for quality"):
        Release.model_validate({"gates": {"quality.grounded": {"max_loss": 0.1}}})


def test_pairs_bring_a_gate_on_what_quantisation_loses_unless_quality_has_its_own() -> None:
    assert gates_for({}, has_pairs=True, today=DAY)["quality.task"].max_loss == 0.05
    assert gates_for({"quality.task": Gate(min=0.4)}, has_pairs=True, today=DAY)["quality.task"].min == 0.4
    assert gates_for({}, has_pairs=False, today=DAY) == {}


def test_settings_survive_json() -> None:
    settings = ChooseSettings(project="p", gates=gates_for({}, has_pairs=True, today=DAY), usd_per_hour=0.1)
    assert ChooseSettings.model_validate_json(settings.model_dump_json()) == settings


def test_an_excuse_counts_to_its_last_day_and_for_its_gate_alone() -> None:
    told = {"by": "Ann", "reason": "asked by our staff alone", "until": "2026-11-27"}
    gates = {
        "quality.task": Gate.model_validate({"min": 0.4, "excuse": told}),
        "quality.grounded": Gate(min=0.4),
    }
    facts = {name: Fact(0.1, "share", n=9, low=0.0, high=0.3, level=0.95) for name in gates}
    held = judge(facts, gates_for(gates, has_pairs=True, today=DAY))
    assert [(one.gate, one.passed) for one in held] == [("quality.task", True), ("quality.grounded", False)]
    assert "Ann" in held[0].excused
    assert ended(gates, DAY) == {}
    assert list(ended(gates, date(2026, 11, 28))) == ["quality.task"]
    later = judge(facts, gates_for(gates, has_pairs=True, today=date(2026, 11, 28)))
    assert [one.passed for one in later] == [False, False]
    facts["quality.task"] = Fact(None, "share", why="nobody asked")
    assert judge(facts, gates)[0].passed
