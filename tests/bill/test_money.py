"""Money: exact until one named rounding, whatever the currency."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.bill import Rates
from modelyard.bill.money import CURRENCIES, digits, exact, payable, plain, to_minor
from modelyard.errors import ProjectError

AMOUNTS = st.decimals(-(10**9), 10**9, places=15)
RATES = st.decimals(0, 10**9, places=12)
TOKENS = st.integers(0, 10**9)


@given(AMOUNTS, st.sampled_from(["USD", "JPY", "KWD"]))
def test_a_line_is_rounded_half_up_away_from_zero_to_its_currencys_unit(
    amount: Decimal, currency: str
) -> None:
    unit = Decimal(1).scaleb(-CURRENCIES[currency])
    said = payable(to_minor(Fraction(amount), currency), currency)
    assert Decimal(said) == amount.quantize(unit, ROUND_HALF_UP)
    assert -Decimal(said).as_tuple().exponent == CURRENCIES[currency]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("amount", "currency", "said"),
    [
        ("0.005", "USD", "0.01"),
        ("0.0049999999999999999999", "USD", "0.00"),
        ("-0.005", "USD", "-0.01"),
        ("0.5", "JPY", "1"),
        ("29", "JPY", "29"),
        ("0.0005", "KWD", "0.001"),
        ("29", "CNY", "29.00"),
    ],
)
def test_rounding_at_the_edge(amount: str, currency: str, said: str) -> None:
    assert payable(to_minor(Fraction(amount), currency), currency) == said


@given(AMOUNTS)
def test_an_exact_amount_is_written_without_loss_and_without_exponent(amount: Decimal) -> None:
    said = exact(Fraction(amount))
    assert Fraction(said) == Fraction(amount)
    assert "E" not in said.upper()


def test_a_third_is_never_written_as_if_it_were_exact() -> None:
    with pytest.raises(ValueError, match="no exact decimal"):
        exact(Fraction(1, 3))


def test_what_is_no_currency_is_told() -> None:
    for code in ("usd", "US", "XXX", "BTC", ""):
        with pytest.raises(ProjectError, match="no currency"):
            digits(code)


@given(st.decimals(0, 10**9, places=12))
def test_a_rate_has_one_spelling(rate: Decimal) -> None:
    assert plain(rate) == plain(Decimal(f"{rate:f}000"))
    assert Fraction(plain(rate)) == Fraction(rate)


@given(RATES, RATES, RATES, TOKENS, st.data())
def test_a_hold_covers_every_way_the_request_can_end(
    input: Decimal, cached: Decimal, output: Decimal, most_in: int, data: st.DataObject
) -> None:
    rates = Rates("p@1", "USD", input, cached, output)
    most_out = data.draw(TOKENS)
    hold = rates.most(most_in, most_out)
    used = data.draw(st.integers(0, most_in))
    hit, written = data.draw(st.integers(0, used)), data.draw(st.integers(0, most_out))
    assert rates.list_price(used, hit, written) * 10**9 <= hold
    dearest = rates.list_price(most_in, most_in if cached > input else 0, most_out) * 10**9
    assert hold - 1 < dearest <= hold  # rounded up, and by less than a nano-unit


@given(RATES, TOKENS, TOKENS, TOKENS)
def test_a_unit_price_is_additive_over_any_split_of_the_tokens(rate: Decimal, a: int, b: int, c: int) -> None:
    rates = Rates("p@1", "USD", rate, rate, rate)
    whole = rates.list_price(a + b, 0, c)
    assert whole == rates.list_price(a, 0, 0) + rates.list_price(b, b, 0) + rates.list_price(0, 0, c)


def test_a_hundred_thousand_small_events_are_not_rounded_one_by_one() -> None:
    rates = Rates("p@1", "USD", Decimal("0.15"), Decimal("0.15"), Decimal("0.15"))
    total = sum((rates.list_price(1, 0, 0) for _ in range(100_000)), Fraction(0))
    assert exact(total) == "0.015"
    assert sum(Decimal(payable(to_minor(rates.list_price(1, 0, 0), "USD"), "USD")) for _ in range(10)) == 0
