"""What tokens cost by one version of a plan: exact, before the included quota."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil

PER = 1_000_000
NANO = 1_000_000_000


def nano(amount: Fraction) -> int:
    """R2: whole nano-units of the currency, rounded up."""
    return ceil(amount * NANO)


def exactly(nano: int) -> Fraction:
    """Nano-units as units of the currency."""
    return Fraction(nano, NANO)


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices of a million tokens, in units of the currency."""

    plan_version: str
    currency: str
    input: Decimal
    cached: Decimal
    output: Decimal

    def most(self, input_tokens: int, output_tokens: int) -> int:
        """The dearest that so many tokens can be, in nano-units, rounded up (R2).

        Nobody knows yet how much of the input is cached, so all of it counts at the dearer of both prices.
        """
        read = Fraction(max(self.input, self.cached)) * input_tokens
        return nano((read + Fraction(self.output) * output_tokens) / PER)

    def list_price(self, input_tokens: int, cached_tokens: int, output_tokens: int) -> Fraction:
        """What they cost, exactly, in units of the currency; the cached ones are among the input."""
        return (
            Fraction(self.input) * (input_tokens - cached_tokens)
            + Fraction(self.cached) * cached_tokens
            + Fraction(self.output) * output_tokens
        ) / PER
