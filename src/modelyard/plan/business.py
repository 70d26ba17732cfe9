"""The block `plan.business`: where money comes from and goes.

Amounts here are forecasts, so they are floats with ranges; money that is charged stands in `prices`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ..records.settings import Settings


def _three(told: Any) -> Any:
    """A number alone is known: all three are it."""
    return (told, told, told) if isinstance(told, (int, float, str)) else told


def _rising(told: tuple[float, float, float]) -> tuple[float, float, float]:
    if not told[0] <= told[1] <= told[2]:
        raise ValueError("should be [low, middle, high], in this order")
    return told


Positive = Annotated[float, Field(ge=0)]
Estimate = Annotated[
    tuple[Positive, Positive, Positive],
    BeforeValidator(_three),
    Field(description="A number, or [low, middle, high] of which 80% lie between the ends."),
]
Share = Annotated[float, Field(ge=0, le=1)]


class Ranged(Settings):
    """A block whose estimates rise."""

    @model_validator(mode="after")
    def _ordered(self) -> Ranged:
        for name in type(self).model_fields:
            told = getattr(self, name)
            if isinstance(told, tuple) and len(told) == 3 and all(isinstance(one, float) for one in told):
                _rising(told)
        return self


class Subscription(Ranged):
    """Customers who pay each month."""

    kind: Literal["subscription"]
    """Which kind of revenue this is."""
    plan: str
    """The plan of `prices` that they have."""
    customers: int = Field(default=0, ge=0)
    """Customers today."""
    new_per_month: Estimate
    """Customers who join in a month."""
    churn_per_month: Estimate = (0.02, 0.04, 0.08)
    """Share of the customers who leave in a month."""
    tokens_per_month: Estimate = (0.0, 0.0, 0.0)
    """Tokens that a customer uses in a month."""
    output_share: Share = 0.1
    """Share of the tokens that are written."""
    support_hours: Estimate = (0.25, 0.5, 1.0)
    """Hours of the team that a customer takes in a month."""


class Service(Ranged):
    """Work by the hour: set-up, tuning, evaluation, support."""

    kind: Literal["service"]
    """Which kind of revenue this is."""
    hours_per_month: Estimate
    """Hours billed in a month."""
    per_hour: float = Field(gt=0)
    """Price of an hour."""
    starts: int = Field(default=1, ge=1, le=60)
    """The month in which it begins, 1 being the next one."""


class Product(Ranged):
    """Licences of a model or an installation, sold once, with maintenance each year."""

    kind: Literal["product"]
    """Which kind of revenue this is."""
    copies_per_month: Estimate
    """Copies sold in a month."""
    price: float = Field(gt=0)
    """Price of one."""
    maintenance_share: Share = 0.18
    """Of the price, what a year of maintenance costs the customer; begins a year after the sale."""
    support_hours: Estimate = (4.0, 8.0, 20.0)
    """Hours of the team that a copy takes when it is delivered."""
    starts: int = Field(default=1, ge=1, le=60)
    """The month in which it begins."""


class Annotation(Ranged):
    """Annotated data or annotation, sold by the unit that was accepted."""

    kind: Literal["annotation"]
    """Which kind of revenue this is."""
    units_per_month: Estimate
    """Accepted units in a month."""
    price: float = Field(gt=0)
    """Price of an accepted unit."""
    seconds: Estimate
    """Seconds that one annotator takes for a unit."""
    annotators: int = Field(default=1, ge=1, le=9)
    """Annotators who do each unit."""
    wage_per_hour: float = Field(gt=0)
    """What an annotator's hour costs with everything on top."""
    accepted: float = Field(default=0.9, gt=0, le=1)
    """Share of the units that are accepted the first time."""
    checked: Share = 0.1
    """Share of the units that are checked once more."""
    starts: int = Field(default=1, ge=1, le=60)
    """The month in which it begins."""


Revenue = Annotated[Subscription | Service | Product | Annotation, Field(discriminator="kind")]


class Funding(Ranged):
    """Money that does not come from customers."""

    kind: Literal["round", "grant", "compute credit"]
    """A round, a grant, or a credit that only pays for compute."""
    amount: Estimate
    """What comes; of a compute credit its value."""
    chance: Share = 1.0
    """How likely it comes at all."""
    lead_months: Estimate = (3.0, 6.0, 9.0)
    """Months from now until it is there."""


class Business(Ranged):
    """Money in and out, month by month."""

    cash: float = Field(ge=0)
    """Cash today."""
    other_per_month: Estimate = (0.0, 0.0, 0.0)
    """Rent, insurance, software, accounting: what a month costs besides people and machines."""
    pays_team: bool = True
    """Whether the people are paid from this cash; founders may live from other money."""
    paid_after_days: Estimate = (0.0, 30.0, 60.0)
    """Days from an invoice to its payment."""
    fee_share: Share = 0.03
    """Share of each payment that the payment service keeps."""
    tax_share: Share = 0.0
    """Share of a month's profit that is put aside for tax."""
    margin: float = Field(default=0.5, ge=0, lt=1)
    """Gross margin that the price floor is to leave."""
    revenue: tuple[Revenue, ...] = ()
    """Where money comes from."""
    funding: tuple[Funding, ...] = ()
    """Money that does not come from customers."""
