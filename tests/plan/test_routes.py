"""Routes: what fits comes first, a loser says why it lost, what was measured counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plan.projects import inputs, measured, plan

from modelyard.errors import ProjectError
from modelyard.plan.options import options, this_machine
from modelyard.plan.routes import EFFORT, Route, routes
from modelyard.plan.settings import Scenario
from modelyard.plan.training import train


def of(kind: str, found: list[Route] | tuple[Route, ...]) -> Route:
    return next(one for one in found if one.kind == kind)


def test_every_route_is_told_and_every_loser_says_why() -> None:
    found = routes(inputs())
    assert {one.kind for one in found} == set(EFFORT)
    assert not found[0].lost
    assert all(one.lost for one in found[1:])
    assert [bool(one.unfit) for one in found] == sorted(bool(one.unfit) for one in found)


def test_a_project_that_measured_nothing_buys_and_one_that_did_keeps_what_it_has() -> None:
    assert routes(inputs())[0].kind == "buy"
    best = routes(inputs(standing=measured()))[0]
    assert best.kind == "lora"
    assert best.quality.value == 0.88
    assert "record" in best.quality.source
    assert best.build.value == 0


@pytest.mark.parametrize("kind", ["ground", "full", "distil"])
def test_what_was_released_counts_for_the_route_that_led_to_it(kind: str) -> None:
    found = routes(inputs(standing=measured(), kind=kind))
    assert of(kind, found).build.value == 0
    assert of(kind, found).quality.value is not None
    assert of("lora", found).quality.value is None


def test_what_nearly_reached_the_goal_is_more_than_what_came_nowhere_near() -> None:
    goal = {"metric": "quality.task", "target": 0.95, "date": "2027-05-01", "owner": "Ana"}
    found = routes(inputs(plan(goals=[goal], private=True), standing=measured()))
    kinds = [one.kind for one in found]
    assert kinds.index("lora") < kinds.index("ground")
    assert "less is to be expected" in of("ground", found).lost
    assert of("ground", found).quality.source == "measured: record base0000-1"
    assert kinds.index("full") < kinds.index("lora")  # has not been tried, and may reach it
    poor = routes(inputs(plan(goals=[goal], private=True, money=5000), standing=measured()))
    assert poor[0].kind == "lora"  # of two that can be paid
    assert not of("ground", poor).unfit
    assert "less is to be expected" in of("ground", poor).lost


def test_a_project_without_budget_and_pairs_is_planned_all_the_same() -> None:
    found = routes(inputs(plan(has=None), budget_tokens=None))
    assert found[0].kind == "wait"
    assert of("lora", found).quality.value is None


def test_a_teacher_takes_memory_where_it_answers() -> None:
    told = inputs(plan(rent=("RTX 4090",)))
    device = next(one for one in options(told.plan, told.here, Scenario()) if one.kind == "rent")
    alone, beside = (
        train(told, device, method="lora", parameters=1e9, tokens=1e6, teacher=size) for size in (0.0, 7e9)
    )
    assert alone is not None
    assert beside is not None
    assert alone.memory_gib is not None
    assert beside.memory_gib is not None
    assert beside.memory_gib > alone.memory_gib + 12  # 7e9 in 16 bits
    assert beside.hours.value > 2 * alone.hours.value
    large = train(told, device, method="lora", parameters=1e9, tokens=1e6, teacher=7e10)
    assert large is not None
    assert large.devices > 1  # over which it is split


def test_private_data_goes_to_no_api_and_no_rented_device() -> None:
    found = routes(inputs(plan(private=True)))
    assert not any("rent" in one.on for one in found)
    assert "fits no device" in of("distil", found).lost  # its teacher does not fit here
    assert all("plan.private" in one.lost for one in found if one.kind == "buy")
    assert found[0].kind != "buy"


@pytest.mark.parametrize(
    ("changed", "kind", "says"),
    [
        ({"has": {"documents": 500, "pairs": 20}}, "lora", "the fewest whose effect"),
        ({"has": {"documents": 0, "pairs": 3000}}, "ground", "no documents"),
        ({"money": 1000}, "lora", "may cost"),
        ({"deadline": "2026-12-05"}, "full", "may take"),
        ({}, "scratch", "the smallest model wants"),
        ({}, "continue", "the fewest to learn from"),
        ({"load": {"requests_per_day": 2000, "p95_s": 0.0001}}, "lora", "one answer alone"),
    ],
)
def test_a_broken_limit_is_named(changed: dict[str, object], kind: str, says: str) -> None:
    assert says in of(kind, routes(inputs(plan(**changed)))).lost  # type: ignore[arg-type]


def test_where_nothing_fits_the_advice_is_to_wait() -> None:
    found = routes(inputs(plan(money=100)))
    assert found[0].kind == "wait"
    assert "no route keeps all limits" in found[0].basis
    nothing = routes(inputs(plan(has=None)))
    assert nothing[0].kind == "wait"


def test_without_a_load_no_month_and_no_year_is_told() -> None:
    found = routes(inputs(plan(load=None)))
    assert all(one.year is None for one in found)


def test_more_data_lets_a_model_be_trained_from_scratch() -> None:
    rich = plan(has={"documents": 1, "pairs": 0, "tokens": 5e9}, money=None, deadline=None, business=None)
    assert not of("scratch", routes(inputs(rich))).unfit


@given(st.floats(0.2, 5), st.floats(0.2, 5))
def test_dearer_rent_and_dearer_answers_never_make_a_year_cheaper(rent: float, api: float) -> None:
    told = inputs(plan(rent=("H100",)))
    for low, high in ((Scenario(), Scenario(rent=1 + rent)), (Scenario(), Scenario(api_price=1 + api))):
        before = {one.name: one.year for one in routes(told, low)}
        after = {one.name: one.year for one in routes(told, high)}
        assert all((after[name] or 0) >= (before[name] or 0) - 1e-6 for name in before if name in after)


def test_what_nobody_may_rent_is_no_option() -> None:
    told, here = plan(rent=("H100", "RTX 4090")), this_machine(0.08)
    names = [one.name for one in options(told, here, Scenario(unavailable=("H100",)))]
    assert names == ["this machine", "RTX 4090, rent"]
    assert [one.name for one in options(plan(own=("RTX 4090",), rent=()), here, Scenario())][
        1
    ] == "RTX 4090, own"


@pytest.mark.parametrize(("own", "says"), [(("ZX81",), "no device of the catalogue"), (("T4",), "no price")])
def test_an_unknown_device_or_one_without_a_price_is_refused(own: tuple[str, ...], says: str) -> None:
    with pytest.raises(ProjectError, match=says):
        options(plan(own=own), this_machine(0.08), Scenario())


def test_the_machine_of_the_yards_own_runs_is_believed_over_its_kind() -> None:
    fast = replace(measured().tuned[0], tokens_per_s=4300.0)
    slow = of("full", routes(inputs(standing=measured())))
    quick = of("full", routes(inputs(standing=replace(measured(), tuned=[fast]))))
    assert slow.machine_hours is not None
    assert quick.machine_hours is not None
    if slow.on == quick.on:
        assert quick.machine_hours.value == pytest.approx(slow.machine_hours.value / 10)
    assert "record" in quick.basis


def test_an_old_price_says_that_it_is_old() -> None:
    fresh = routes(inputs(today=date(2026, 5, 10), told=plan(deadline="2026-12-01")))
    assert "older" not in of("buy", fresh).basis
    assert "older" in of("buy", routes(inputs())).basis
