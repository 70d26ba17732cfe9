"""Futures, lessons, forecasts, position, companies: each reads the project's own records."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from tests.plan.projects import ANA, BUSINESS, inputs, measured, plan, sold

from modelyard.errors import ProjectError
from modelyard.plan.companies import BASES, SELLS, alike, gap_months, of, reported
from modelyard.plan.forecasts import register
from modelyard.plan.inputs import Inputs, Offer
from modelyard.plan.lessons import RULES
from modelyard.plan.outlook import BUILT_IN, outcome, outlook
from modelyard.plan.positioning import position
from modelyard.plan.routes import routes
from modelyard.plan.settings import Scenario
from modelyard.plan.whole import Whole, whole


def lesson(found: Whole, name: str) -> bool | None:
    return next(one for one in found.lessons if one.name == name).kept


def test_nine_futures_are_run_and_a_project_may_add_and_replace() -> None:
    told = inputs(plan(scenarios={"base": {"demand": 0}, "our own": {"rent": 3}}))
    found = {one.name: one for one in outlook(told, outcome(told))}
    assert set(found) == {*BUILT_IN, "our own"}
    assert len(BUILT_IN) == 9
    assert found["base"].changes  # without demand the cash runs dry


def test_a_future_that_shifts_nothing_changes_nothing() -> None:
    told = inputs(plan(scenarios={"the same": {}}))
    assert not next(one for one in outlook(told, outcome(told)) if one.name == "the same").changes


def test_a_shock_to_the_data_moves_the_route() -> None:
    told = inputs(plan(has={"documents": 10, "pairs": 300}, private=True))
    found = {one.name: one for one in outlook(told, outcome(told))}
    assert any(change.startswith("route") for change in found["data licence shock"].changes)


def test_a_policy_that_pays_helps() -> None:
    told = inputs(plan())
    now, then = outcome(told), outcome(told, Scenario(grant=50_000))
    assert now.cash is not None
    assert then.cash is not None
    assert then.cash.dry[-1] < now.cash.dry[-1]


def test_every_lesson_is_judged_and_has_its_cases() -> None:
    found = whole(inputs())
    assert {one.name for one in found.lessons} == {rule[0] for rule in RULES}
    assert all(one.cases for one in found.lessons)
    assert {one.about for one in found.lessons} == {"innovation", "strategy", "people", "funding"}
    order = [{False: 0, None: 1, True: 2}[one.kept] for one in found.lessons]
    assert order == sorted(order)


def test_a_lesson_reads_the_projects_own_records() -> None:
    nothing, made = whole(inputs()), whole(inputs(standing=measured(), sold=sold()))
    assert lesson(nothing, "better than what is free") is None
    assert lesson(made, "better than what is free") is True
    worse = whole(inputs(standing=measured(**{"gain.task": -0.1})))
    assert lesson(worse, "better than what is free") is False
    assert lesson(made, "no customer is the business") is True
    one_customer = whole(inputs(sold=sold(largest_share=0.9)))
    assert lesson(one_customer, "no customer is the business") is False


def test_a_lesson_that_cannot_be_judged_says_what_is_missing() -> None:
    for block, missing in (
        (plan(load=None), "plan.load is not told"),
        (plan(money=1), "no machine of yours"),
    ):
        found = next(one for one in whole(inputs(block)).lessons if one.name == "full machines or none")
        assert found.kept is None
        assert missing in found.read


def test_rules_of_strategy_money_and_people() -> None:
    tokens = {**BUSINESS, "revenue": BUSINESS["revenue"][:1]}  # type: ignore[index]
    found = whole(inputs(plan(business=tokens, money=None)))
    assert lesson(found, "not tokens alone") is False
    assert lesson(found, "sell the work around it") is False
    assert lesson(found, "goals with owners") is False
    rich = whole(inputs(plan(business={**BUSINESS, "cash": 1e7})))
    assert lesson(rich, "money outlasts the next round") is True
    assert lesson(whole(inputs(plan(business=None))), "money outlasts the next round") is None
    goal = {"metric": "quality.task", "target": 0.8, "date": "2027-05-01", "owner": "Ana"}
    assert lesson(whole(inputs(plan(goals=[goal]))), "goals with owners") is True


def test_a_forecast_is_open_then_due_then_scored() -> None:
    told = plan(
        forecasts=[
            {"what": "quality.task", "made": "2026-01-01", "by": "2026-11-01", "low": 0.8, "high": 0.9},
            {"what": "quality.task", "made": "2026-01-01", "by": "2026-11-01", "low": 0.1, "high": 0.2},
            {"what": "quality.task", "made": "2026-01-01", "by": "2027-11-01", "low": 0.1, "high": 0.2},
            {"what": "nobody measures", "made": "2026-01-01", "by": "2026-11-01", "low": 1, "high": 2},
            {"what": "it rains", "made": "2026-01-01", "by": "2026-11-01", "chance": 0.7, "outcome": 1},
        ]
    )
    found = register(inputs(told, standing=measured()))
    assert [one.state for one in found.all] == ["inside", "outside", "open", "due", "scored"]
    assert found.all[0].score == pytest.approx(0.1)
    assert found.all[1].score == pytest.approx(0.1 + 10 * (0.88 - 0.2))
    assert found.inside == 0.5
    assert found.brier == pytest.approx(0.09)
    assert "record" in found.all[0].source


def test_a_plan_is_compared_where_the_bills_cross() -> None:
    told = inputs(standing=measured())
    found = position(told, routes(told)[0])
    assert [one.per_1k for one in found.alternatives] == sorted(one.per_1k for one in found.alternatives)
    dear = next(one for one in found.against if "GPT-5.5" in one.alternative)
    assert dear.from_requests is not None
    bill = told.offers["starter"].charged(dear.from_requests * 125, dear.from_requests * 8)
    theirs = dear.from_requests * (125 * 5 + 8 * 30) / 1e6
    assert bill == pytest.approx(theirs, rel=1e-6)
    assert found.cost_per_1k == pytest.approx(0.0127 * 133 / 1000)
    assert any("gates that block" in one for one in found.guarantees)
    assert any("quality.task" in what for what, _ in found.advantages)


def test_the_bill_counts_only_what_goes_beyond_the_included_tokens() -> None:
    offer = Offer(29, 1_000_000, 0.3, 1.2)
    assert offer.charged(900_000, 100_000) == 29
    assert offer.charged(1_800_000, 200_000) == pytest.approx(29 + (1.8 * 0.3 + 0.2 * 1.2) / 2)
    assert offer.charged(0, 0) == 29


def test_companies_have_a_basis_a_source_and_a_confidence() -> None:
    rows = reported()
    assert len({one.company for one in rows}) >= 6
    assert all(
        one.basis in BASES and one.source and one.confidence in ("high", "medium", "low") for one in rows
    )
    assert all(one.value is not None or one.low is not None for one in rows)
    assert set(SELLS) == {one.company for one in rows}


def test_a_gap_between_two_numbers_is_a_gap() -> None:
    margin = [one for one in of("zhipu") if one.metric == "cloud gross margin"]
    assert gap_months(*margin) == 24
    revenue = [one for one in of("Zhipu") if one.metric == "revenue"]
    assert gap_months(revenue[0], revenue[1]) is None
    with pytest.raises(ProjectError, match="no company"):
        of("Initech")


def test_who_sells_the_same_is_nearest() -> None:
    assert alike({"product", "service"})[0][0] in ("Zhipu", "Mistral", "Cohere")
    assert alike({"subscription"})[0][0] in ("OpenAI", "Anthropic", "DeepSeek", "MiniMax")
    assert not alike(set())


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"deadline": "2026-01-01"}, "is over"),
        ({"rent": ["ZX81"]}, "no device of the catalogue"),
        ({"team": [{**ANA, "leaves": "2026-01-01"}]}, "everybody has left"),
        ({"team": [{**ANA, "joins": "2027-02-01", "leaves": "2027-01-01"}]}, "leaves before joining"),
        ({"responsible": {"quality.tusk": ["Ana"]}}, "no gate, source or module"),
        (
            {"forecasts": [{"what": "abc", "made": "2027-01-01", "by": "2027-02-01", "chance": 0.5}]},
            "still to come",
        ),
    ],
)
def test_what_cannot_be_is_named_with_what_to_change(changed: dict[str, object], says: str) -> None:
    with pytest.raises(ProjectError, match=says) as refused:
        whole(inputs(plan(**changed)))
    assert refused.value.try_


def test_all_contradictions_are_told_at_once() -> None:
    told = plan(deadline="2026-01-01", responsible={"quality.tusk": ["Ana"]})
    with pytest.raises(ProjectError, match=r"2 things(.|\n)*is over(.|\n)*no gate"):
        whole(inputs(told, offers={"starter": Offer(29, 0, 1, 1)}))


def calibrated(standing: Inputs) -> bool:
    return whole(standing).calibrated


def test_a_plan_is_uncalibrated_until_there_is_a_run() -> None:
    assert not calibrated(inputs())
    assert any("uncalibrated" in line for line in whole(inputs()).assumed)
    assert calibrated(inputs(standing=measured()))
    assert not any("uncalibrated" in line for line in whole(inputs(standing=measured())).assumed)
    bare = whole(replace(inputs(), plan=plan(business=None, load=None, team=[], money=None), offers={}))
    assert bare.cash is None
    assert bare.inputs.today == date(2026, 11, 29)
