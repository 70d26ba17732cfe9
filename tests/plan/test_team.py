"""The team: gaps and ways to close them, one person for each thing, a change that passes work on."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plan.projects import ANA, BO, TODAY, inputs, measured, plan, sold

from modelyard.plan.settings import SKILLS, Plan
from modelyard.plan.team import NEEDED, Team, team


def of(told: Plan, **changed: Any) -> Team:
    return team(inputs(told, **changed))


def test_coverage_is_the_weakest_skill_and_the_bus_factor_the_rarest() -> None:
    found = of(plan(stage="prove"))
    assert (found.coverage, found.bus_factor) == (2, 1)
    assert not found.gaps
    later = of(plan(stage="first customers"))
    assert (later.coverage, later.bus_factor) == (0, 0)
    assert {gap.skill for gap in later.gaps} >= {"security", "sales"}


def test_a_gap_is_closed_by_the_cheapest_that_keeps_the_deadline() -> None:
    slow = of(plan(team=[ANA, {**BO, "skills": {}}], stage="prove", deadline="2027-12-31"))
    assert not slow.gaps
    alone = [{**ANA, "skills": {"data": 2, "evaluation": 2}}]
    gap = next(one for one in of(plan(team=alone, stage="prove")).gaps if one.skill == "domain")
    assert gap.ways[0].usd * (1 + gap.ways[0].days / 300) <= gap.ways[-1].usd * (1 + gap.ways[-1].days / 300)
    rushed = of(plan(team=alone, stage="prove", deadline="2026-12-20"))
    assert all(way.days <= 21 for _, way in rushed.closing)


def test_nobody_learns_two_things_at_once_and_nobody_who_leaves_learns() -> None:
    found = of(plan(stage="scale"))
    learners = [way.who for _, way in found.closing if way.how == "learn"]
    assert len(learners) == len(set(learners))
    leaving = of(plan(team=[ANA, {**BO, "leaves": "2027-01-15"}], stage="scale"))
    assert "Bo" not in [way.who for _, way in leaving.closing if way.how == "learn"]


def test_cash_limits_what_closing_may_cost() -> None:
    poor = {"cash": 100, "revenue": []}
    found = of(plan(stage="scale", business=poor, money=None))
    assert sum(way.usd for _, way in found.closing) <= 100


def test_gaps_that_nothing_closes_are_said() -> None:
    poor = of(plan(stage="scale", business={"cash": 1, "revenue": []}, money=None))
    assert any("no combination of ways" in line for line in poor.warnings)
    many = of(plan(stage="scale", team=[{**ANA, "skills": {}}], business=None))
    assert any("stay open" in line for line in many.warnings)
    assert not any("stay open" in line for line in of(plan(stage="prove")).warnings)


def test_everything_has_one_who_answers_and_the_right_to() -> None:
    found = of(plan(team=[ANA, {**BO, "role": "annotator"}]))
    assert all(duty.who for duty in found.duties)
    assert {duty.who for duty in found.duties if not duty.what.startswith("source")} == {"Ana"}
    none = of(plan(team=[{**ANA, "role": "auditor"}]))
    assert all(duty.who is None and "role" in duty.why for duty in none.duties)


def test_who_leaves_passes_on_what_was_theirs() -> None:
    told = {"responsible": {"quality.task": ["Bo", "Ana"]}}
    there = of(plan(**told))
    assert next(d for d in there.duties if d.what == "gate quality.task").who == "Bo"
    gone = of(plan(team=[ANA, {**BO, "leaves": "2026-11-01"}], **told))
    duty = next(d for d in gone.duties if d.what == "gate quality.task")
    assert (duty.who, duty.why) == ("Ana", "Bo is not there: passed on")


def test_a_role_that_may_not_release_does_not_answer_for_a_gate() -> None:
    told = plan(team=[ANA, {**BO, "role": "finance"}], responsible={"quality.task": ["Bo"]})
    duty = next(d for d in of(told).duties if d.what == "gate quality.task")
    assert duty.who == "Ana"
    assert "finance" in duty.why


def test_a_goal_is_read_from_the_records() -> None:
    goals = [
        {"metric": "quality.task", "target": 0.8, "date": "2027-06-30", "owner": "Ana"},
        {"metric": "latency.ttft_p95_s.c1", "target": 0.01, "date": "2027-06-30", "owner": "Ana"},
        {"metric": "customers", "target": 10, "date": "2026-11-01", "owner": "Bo"},
        {"metric": "words of our own", "target": 1, "date": "2027-12-31", "owner": "Bo"},
    ]
    told = plan(goals=goals, team=[ANA, {**BO, "leaves": "2027-03-01"}])
    found = of(told, standing=measured(), sold=sold())
    assert [goal.state for goal in found.goals] == ["reached", "open", "late", "its owner leaves before"]
    assert [goal.now for goal in found.goals] == [0.88, 0.08, 3.0, None]
    assert "record" in found.goals[0].source


def test_a_principle_without_a_gate_is_seen() -> None:
    told = plan(
        principles=[
            {"text": "no wrong answers", "gate": "safety.false_answer"},
            {"text": "fair to all", "gate": "fair.swap"},
        ]
    )
    assert [bound for _, _, bound in of(told).principles] == [True, False]


def test_what_is_due_and_not_done_is_late() -> None:
    items = [
        {"what": "learn to evaluate", "who": "Bo", "due": "2026-11-01", "skill": "evaluation", "hours": 40},
        {"what": "learn to tune", "who": "Bo", "due": "2026-11-01", "done": "2026-10-30"},
        {"what": "learn to sell", "who": "Ana", "due": "2027-01-01"},
    ]
    found = of(plan(learning=items, retrospectives=items[:1]))
    assert [(kind, item.who) for kind, item in found.late] == [("learning", "Bo"), ("retrospective", "Bo")]


def test_warnings_name_who_leaves_and_what_nobody_else_can() -> None:
    found = of(plan(team=[ANA, {**BO, "leaves": "2027-01-15"}], stage="first customers"))
    assert any("Bo leaves on 2027-01-15" in line and "serving" in line for line in found.warnings)
    assert any("owner" in line for line in of(plan(team=[BO], money=None)).warnings)
    busy = team(inputs(plan()), load_hours=100)
    assert any("sold work takes 100" in line for line in busy.warnings)


def test_a_project_without_a_team_is_told_so() -> None:
    found = of(plan(team=[]))
    assert found.coverage is None
    assert found.bus_factor is None


@given(st.dictionaries(st.sampled_from(SKILLS), st.integers(0, 3)), st.sampled_from(sorted(NEEDED)))
def test_more_skill_never_opens_a_gap(skills: dict[Any, int], stage: Any) -> None:
    before = of(plan(team=[ANA, {**BO, "skills": skills}], stage=stage))
    after = of(plan(team=[ANA, {**BO, "skills": dict.fromkeys(SKILLS, 3)}], stage=stage))
    assert {gap.skill for gap in after.gaps} <= {gap.skill for gap in before.gaps}


@pytest.mark.parametrize("joins", ["2026-11-30", "2027-05-01"])
def test_who_is_to_come_is_not_there_yet(joins: str) -> None:
    found = of(plan(team=[ANA, {**BO, "joins": joins}]))
    assert found.hours_per_week == 40
    assert date.fromisoformat(joins) > TODAY
