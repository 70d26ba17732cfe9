"""Unit economics: units cancel, break-even gives nothing, floors leave their margin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.estimate import economics

money = st.floats(0.01, 1e5)
shares = st.floats(0, 0.4)


@given(money, money, shares)
def test_at_break_even_the_profit_is_nothing(fixed: float, price: float, fee: float) -> None:
    variable = price / 3
    units = economics.break_even_units(fixed, price, variable, fee)
    assert units is not None
    assert units * (price * (1 - fee) - variable) == pytest.approx(fixed)


@given(money, shares, st.floats(0, 0.5))
def test_a_price_at_its_floor_leaves_the_margin(variable: float, fee: float, margin: float) -> None:
    floor = economics.price_floor(variable, 0, fee, margin)
    assert floor is not None
    assert economics.gross_margin(floor, variable, fee) == pytest.approx(margin, abs=1e-9)


def test_what_leaves_nothing_has_no_floor_and_no_break_even() -> None:
    assert economics.price_floor(1, 0, 0.5, 0.5) is None
    assert economics.break_even_units(100, 1, 2) is None
    assert economics.gross_margin(0, 1, 0) is None


@given(money, st.floats(1, 1e5), st.floats(0.01, 1))
def test_a_million_tokens_cost_less_the_faster_and_the_fuller(hour: float, tps: float, used: float) -> None:
    once = economics.usd_per_mtok(hour, tps, used)
    assert economics.usd_per_mtok(hour, 2 * tps, used) == pytest.approx(once / 2)
    assert economics.usd_per_mtok(2 * hour, tps, used) == pytest.approx(once * 2)


def test_worked_rows_of_cost_per_million_tokens() -> None:
    assert economics.usd_per_mtok(2.0, 100, 1) == pytest.approx(5.5556, rel=1e-4)  # 2 / 0.36
    assert pytest.approx(189_573, rel=1e-4) == economics.DEVELOPER_USD_PER_HOUR * 2080


def test_an_annotated_unit_costs_everyone_who_touches_it() -> None:
    assert economics.annotation_unit(60, 2, 30, 1.0, 0) == pytest.approx(1.0)
    assert economics.annotation_unit(60, 2, 30, 0.5, 0) == pytest.approx(2.0)
    assert economics.annotation_unit(60, 2, 30, 1.0, 0.5) == pytest.approx(1.25)


def test_a_bill_rate_pays_the_hours_that_nobody_buys() -> None:
    assert economics.bill_rate_floor(60, 0.6, 0) == pytest.approx(100)


@given(st.floats(0, 0.5))
def test_a_customer_who_may_leave_is_worth_less(churn: float) -> None:
    stays = economics.lifetime_value(50, 0.0, discount=1e-9)
    assert stays == pytest.approx(50 * 36)
    assert economics.lifetime_value(50, churn) <= stays
    assert economics.lifetime_value(50, 1.0) == pytest.approx(50)
