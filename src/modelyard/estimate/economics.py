"""What a unit costs and what it must be sold for. Money in one currency; shares between 0 and 1."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Amount = TypeVar("Amount", float, NDArray[np.float64])
HOURS_PER_MONTH = 730.0
# Wages are 70.2% of what an hour costs an employer in the United States (BLS, ECEC, June 2025).
WAGE_SHARE = 0.702
# Median year of a software developer, 2024 (BLS OEWS 15-1252), over 2,080 hours.
DEVELOPER_USD_PER_HOUR = 133_080 / 2080 / WAGE_SHARE
LIFE_MONTHS, RESIDUAL = 36, 0.2  # over which a device is written off, and what it then still brings: assumed


def usd_per_mtok(usd_per_hour: float, tokens_per_s: float, used: float) -> float:
    """Cost of a million tokens on a machine that sells the share `used` of what it can."""
    return usd_per_hour / (tokens_per_s * used * 3600) * 1e6


def owned_usd_per_hour(price: float, watts: float | None, kwh_price: float, building: float = 1.25) -> float:
    """An hour of a device that was bought: what it loses in value, and its energy with the building's."""
    lost = price * (1 - RESIDUAL) / (LIFE_MONTHS * HOURS_PER_MONTH)
    return lost + (watts or 0.0) / 1000 * building * kwh_price


def price_floor(variable: float, fixed_fee: float, fee_share: float, margin: float) -> float | None:
    """The lowest price of a unit that leaves `margin` of itself after fees; None where nothing is left."""
    left = 1 - fee_share - margin
    return (variable + fixed_fee) / left if left > 0 else None


def gross_margin(price: float, variable: float, fee_share: float) -> float | None:
    """Share of the price that is left after what the unit costs and the payment's fee; None without price."""
    return (price * (1 - fee_share) - variable) / price if price > 0 else None


def break_even_units(fixed: float, price: float, variable: float, fee_share: float = 0.0) -> float | None:
    """Units a month that pay the fixed cost; None where a unit leaves nothing."""
    left = price * (1 - fee_share) - variable
    return fixed / left if left > 0 else None


def annotation_unit(
    seconds: float, annotators: int, wage_per_hour: float, accepted: float, checked: float
) -> float:
    """Cost of an accepted unit: everyone who does it, those who check it, and what must be done again."""
    return seconds / 3600 * wage_per_hour * (annotators + checked) / accepted


def bill_rate_floor(cost_per_hour: float, billable: float, margin: float) -> float:
    """The lowest price of an hour, when the share `billable` of the paid hours can be sold."""
    return cost_per_hour / billable / (1 - margin)


def lifetime_value(left: Amount, churn: Amount, months: int = 36, discount: float = 0.01) -> Amount:
    """What a customer who leaves `left` a month brings over `months` at most: fewer stay, later counts less.

    `churn` and `discount` are shares a month; one of them is above 0.
    """
    stay = (1 - churn) / (1 + discount)
    return left * (1 - stay**months) / (1 - stay)
