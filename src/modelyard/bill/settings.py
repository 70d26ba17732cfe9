"""The block `prices` of the project file: what the plans cost. It proposes; `prices publish` decides."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from ..records.settings import Settings, exact
from .money import CURRENCIES


def _known(code: str) -> str:
    if code not in CURRENCIES:
        raise ValueError("should be a currency of ISO 4217, such as USD, EUR or CNY")
    return code


# Twelve decimals are what other billing systems take, and a rate below the cap fits the ledger's nano-units.
Rate = Annotated[Decimal, BeforeValidator(exact), Field(ge=0, le=1_000_000_000, decimal_places=12)]
PlanName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class Plan(Settings):
    """What one plan costs, in the currency of the block."""

    monthly: Rate = Decimal(0)
    """Fee of a calendar month that has begun, whatever was used."""
    included_tokens: int = Field(default=0, ge=0, le=10**15)
    """Tokens of a month, read and written together, that the fee covers."""
    per_million_input: Rate
    """Price of a million tokens read, beyond the included ones."""
    per_million_output: Rate
    """Price of a million tokens written, beyond the included ones."""
    per_million_cached: Rate | None = None
    """Price of a million tokens read from the cache; the input price when absent."""


class Prices(Settings):
    """The block `prices`: one currency and the plans that customers can have."""

    currency: Annotated[str, AfterValidator(_known)]
    """Currency of every price (ISO 4217)."""
    plans: dict[PlanName, Plan] = Field(min_length=1)
    """The plans by name."""
