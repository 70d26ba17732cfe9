"""Money month by month: it adds up, more is more, and what was metered replaces what was planned."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plan.projects import BUSINESS, inputs, measured, plan, sold

from modelyard.errors import ProjectError
from modelyard.plan.backtest import Range
from modelyard.plan.cash import Cash, cash, runway_months, token_cost
from modelyard.plan.draws import Draws, movers
from modelyard.plan.routes import routes
from modelyard.plan.settings import Plan, Scenario
from modelyard.plan.streams import stream


def path(told: Plan, shift: Scenario | None = None, **changed: Any) -> Cash:
    project = inputs(told, **changed)
    found = cash(project, routes(project)[0], shift)
    assert found is not None
    return found


def business(**changed: Any) -> Plan:
    return plan(business={**BUSINESS, **changed}, money=None)


QUIET = {"revenue": [], "funding": [], "other_per_month": 0}


def test_without_revenue_the_cash_is_what_the_team_leaves() -> None:
    found = path(business(**QUIET), today=inputs().today)
    hourly = 40 * 50 + 20 * 40
    spent = hourly * 52 / 12
    # The first month's machines differ by what the best route takes; later ones are the team alone.
    step = found.cash[5].value - found.cash[4].value
    assert step == pytest.approx(-spent, rel=1e-6)
    assert found.dry[-1] == 1.0
    assert found.break_even_month is None


def test_founders_who_live_from_other_money_cost_nothing() -> None:
    found = path(business(**QUIET, pays_team=False))
    assert found.cash[-1].value == pytest.approx(BUSINESS["cash"], rel=1e-3)
    assert found.dry[-1] == 0


def test_ranges_hold_their_middle_and_the_chance_of_being_dry_only_rises() -> None:
    found = path(plan())
    assert len(found.cash) == found.months
    assert all(one.low <= one.value <= one.high for one in (*found.cash, *found.revenue, *found.spent))
    assert list(found.dry) == sorted(found.dry)
    assert sum(found.shares.values()) == pytest.approx(1)


def test_the_same_project_gives_the_same_path() -> None:
    assert path(plan()) == path(plan())


@settings(deadline=None, max_examples=15)
@given(st.floats(1.2, 4))
def test_more_demand_and_more_cash_are_never_worse(more: float) -> None:
    assert path(plan(), Scenario(demand=more)).cash[-1].value >= path(plan()).cash[-1].value
    rich = path(business(cash=BUSINESS["cash"] * more))
    assert rich.dry[-1] <= path(business()).dry[-1]


def test_what_customers_owe_arrives_later_and_all_of_it() -> None:
    service = [{"kind": "service", "hours_per_month": 10, "per_hour": 100}]
    at_once = path(business(revenue=service, paid_after_days=0, funding=[]))
    late = path(business(revenue=service, paid_after_days=61, funding=[]))
    owed = at_once.cash[-1].value - late.cash[-1].value
    assert owed == pytest.approx(1000 * 0.97 * 61 / (365 / 12), rel=0.02)


def test_a_credit_pays_for_machines_and_for_nothing_else() -> None:
    project = inputs(business(funding=[]), standing=measured())
    credit = [{"kind": "compute credit", "amount": 1e9, "lead_months": 0}]
    free = inputs(business(funding=credit), standing=measured())
    without, with_it = (cash(one, routes(one)[0]) for one in (project, free))
    assert without is not None
    assert with_it is not None
    machines = 0.08 * 730  # one machine, all hours
    assert with_it.cash[-1].value - without.cash[-1].value == pytest.approx(24 * machines, rel=0.01)


def test_a_grant_comes_as_often_as_it_is_likely() -> None:
    quiet = {**QUIET, "pays_team": False}
    grant = [{"kind": "grant", "amount": 10000, "chance": 0.3, "lead_months": 2}]
    found = path(business(**{**quiet, "funding": grant}))
    assert found.cash[-1].high == pytest.approx(found.cash[0].high + 10000, rel=0.05)
    assert found.cash[-1].value == pytest.approx(found.cash[0].value, rel=0.05)


def test_who_leaves_is_no_longer_paid() -> None:
    leaving = plan(business={**BUSINESS, **QUIET}, money=None, team=[
        {"name": "Ana", "hours_per_week": 40, "usd_per_hour": 50, "leaves": "2027-02-28"}
    ])  # fmt: skip
    found = path(leaving)
    assert found.spent[1].value > 8000
    assert found.spent[6].value < 1000


def test_metered_customers_and_tokens_replace_the_planned_ones() -> None:
    planned, known = path(plan()), path(plan(), sold=sold())
    assert any("planned, nothing has been metered" in line for line in planned.assumed)
    assert not any("metered" in line for line in known.assumed)
    draws, project = Draws(), inputs(sold=sold())
    assert project.plan.business is not None
    stream(project, 0, project.plan.business.revenue[0], draws, Scenario())
    each = 9_600_000 / 3 / 3  # metered tokens over months and customers
    assert np.median(draws.given["starter: tokens of a customer a month (metered)"]) == pytest.approx(
        each, rel=0.05
    )
    assert planned.customers is not None
    assert known.customers is not None
    assert known.customers.value > planned.customers.value


def test_a_measured_token_costs_what_the_record_says() -> None:
    project = inputs(standing=measured())
    assert token_cost(project, routes(project)[0]) == pytest.approx(0.0127)
    dear = replace(project, plan=plan(currency="CNY", usd_rate=7.0))
    assert token_cost(dear, routes(dear)[0]) == pytest.approx(0.0127 * 7)


def test_a_bought_answer_and_an_unmeasured_machine_cost_something_without_a_load() -> None:
    bought = inputs(plan(load=None))
    assert routes(bought)[0].kind == "buy"
    assert token_cost(bought, routes(bought)[0]) == pytest.approx((125 * 0.14 + 8 * 0.28) / 133)
    own = inputs(plan(load=None, private=True))
    assert 0 < token_cost(own, routes(own)[0]) < 1


def test_a_customer_who_stays_longer_is_worth_more_and_others_have_no_worth() -> None:
    def worth(churn: float) -> Range:
        sells = [
            one | {"churn_per_month": churn, "support_hours": 0} if one["kind"] == "subscription" else one
            for one in BUSINESS["revenue"]
        ]
        prices = path(business(revenue=sells)).prices
        assert [one.worth is None for one in prices] == [one.unit != "customer and month" for one in prices]
        (found,) = (one.worth for one in prices if one.worth is not None)
        return found

    gone, leaves, stays = worth(1.0), worth(0.1), worth(0.01)
    assert gone.value < leaves.value < stays.value < 36 * gone.value
    assert stays.low <= stays.value <= stays.high


def test_a_price_below_its_floor_shows_in_margin_and_floor() -> None:
    found = path(plan())
    by = {one.name: one for one in found.prices}
    assert set(by) == {"starter", "service", "product", "annotation"}
    assert by["annotation"].cost.value == pytest.approx(60 / 3600 * 20 * 1.1 / 0.9)
    for one in found.prices:
        assert one.floor is not None
        assert one.margin is not None
        assert (one.price < one.floor) == (one.margin < 0.5 - 1e-9)


def test_a_subscription_to_a_plan_without_a_price_is_refused() -> None:
    with pytest.raises(ProjectError, match="has no price"):
        path(plan(), offers={})


def test_what_moves_the_outcome_most_comes_first() -> None:
    draws = Draws()
    much, little = draws.of("much", (1, 10, 100)), draws.of("little", (1, 1.1, 1.2))
    found = movers(draws, much + little)
    assert [name for name, _, _ in found] == ["much", "little"]
    assert found[0][1] < found[0][2]


@given(st.floats(0.01, 1e6), st.floats(1.01, 100), st.floats(1.01, 100))
def test_a_draw_holds_80_percent_between_its_ends(middle: float, up: float, down: float) -> None:
    low, high = middle / down, middle * up
    found = Draws().of("x", (low, middle, high))
    assert np.mean(found < low) == pytest.approx(0.1, abs=0.03)
    assert np.mean(found > high) == pytest.approx(0.1, abs=0.03)
    assert np.all(Draws().of("x", (middle, middle, middle)) == middle)


def test_the_runway_ends_where_one_in_ten_is_dry() -> None:
    found = path(business(**QUIET))
    months = runway_months(found)
    assert found.dry[months] > 0.1
    assert months == 0 or found.dry[months - 1] <= 0.1
