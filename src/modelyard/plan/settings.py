"""The block `plan` of the project file: goal, money, people, and what is assumed of the future."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from ..records.roles import Role
from ..records.settings import Settings
from .business import Business

Skill = Literal[
    "domain",
    "data",
    "annotation",
    "tuning",
    "distributed",
    "compression",
    "serving",
    "security",
    "evaluation",
    "product",
    "sales",
    "finance",
    "law",
]
SKILLS: tuple[Skill, ...] = get_args(Skill)
Stage = Literal["prove", "first customers", "repeatable", "scale"]


Level = Annotated[int, Field(ge=0, le=3)]


class Load(Settings):
    """What customers will ask."""

    requests_per_day: float = Field(gt=0)
    """Requests of a working day."""
    peak_per_s: float | None = Field(default=None, gt=0)
    """Requests a second at the busiest time; a day's tenth within one hour when absent."""
    p95_s: float = Field(default=3, gt=0)
    """Seconds that 95 of 100 answers may take, at the busiest time."""

    @property
    def peak(self) -> float:
        return self.peak_per_s or self.requests_per_day / 10 / 3600


class Has(Settings):
    """What there is to learn from before a corpus is made; without it the sources' files are counted."""

    documents: int = Field(default=0, ge=0)
    """Documents."""
    pairs: int = Field(default=0, ge=0)
    """Questions with their answers."""
    tokens: float = Field(default=0, ge=0)
    """Tokens of the documents."""


class Person(Settings):
    """Somebody of the team."""

    name: str = Field(min_length=1)
    """Name, by which goals and gates name their owner."""
    hours_per_week: float = Field(gt=0, le=100)
    """Hours that this person works on the project."""
    usd_per_hour: float | None = Field(default=None, ge=0)
    """What an hour costs with everything on top; wages of the statistics office, marked so, when absent."""
    skills: dict[Skill, Level] = Field(default_factory=dict)
    """Level of each skill: 0 none, 1 learning, 2 works alone, 3 teaches it."""
    role: Role = "engineer"
    """Role in the service, which decides what this person may do there."""
    joins: date | None = None
    """First day, if it is to come."""
    leaves: date | None = None
    """Last day, if it is known."""

    def is_there(self, day: date) -> bool:
        """Whether this person works on that day."""
        return (self.joins is None or self.joins <= day) and (self.leaves is None or day <= self.leaves)


class Goal(Settings):
    """A number to reach by a day, and who answers for it."""

    metric: str = Field(min_length=1)
    """A fact such as quality.task, or revenue.month, customers, or words of your own."""
    target: float
    """The number."""
    date: date
    """The day."""
    owner: str
    """Who answers for it."""


class Principle(Settings):
    """What the team holds to, and the gate that blocks a release that breaks it."""

    text: str = Field(min_length=3)
    """The principle."""
    gate: str
    """The fact whose gate holds it, such as safety.false_answer."""


class Item(Settings):
    """Something to learn, or to do after a retrospective."""

    what: str = Field(min_length=3)
    """What is to be learnt or done."""
    who: str
    """Who does it."""
    due: date
    """Until when."""
    skill: Skill | None = None
    """The skill that it raises, for something to learn."""
    hours: float = Field(default=0, ge=0)
    """Hours that it takes."""
    done: date | None = None
    """When it was done."""
    evidence: str = ""
    """What shows it: a record, a release, a page."""


class Scenario(Settings):
    """A future: what changes against the plan. 1 or absent changes nothing."""

    rent: float = Field(default=1, gt=0)
    """Price of rented devices, times this."""
    rent_months: int = Field(default=60, ge=1)
    """Months that it lasts."""
    queue_days: float = Field(default=0, ge=0)
    """Days of waiting for a rented device."""
    api_price: float = Field(default=1, gt=0)
    """Price of bought answers, times this within a year."""
    own_price: float = Field(default=1, gt=0)
    """Price that the market leaves you for tokens and subscriptions, times this within a year."""
    efficiency_months: float = Field(default=8, gt=0)
    """Months in which the compute for the same quality halves."""
    unavailable: tuple[str, ...] = ()
    """Devices of the catalogue that nobody can rent or buy."""
    data: float = Field(default=1, gt=0, le=1)
    """Share of the data that may still be used."""
    energy: float = Field(default=1, gt=0)
    """Price of energy, times this."""
    demand: float = Field(default=1, ge=0)
    """New customers and hours sold, times this."""
    grant: float = Field(default=0, ge=0)
    """USD from the state that come after six months."""
    compliance_hours: float = Field(default=0, ge=0)
    """Hours of law and evidence that come on top before the first release."""
    signs: tuple[str, ...] = ()
    """What to watch for, that would show this future early."""


class Forecast(Settings):
    """What somebody expects, and what came of it."""

    what: str = Field(min_length=3)
    """The number: a fact's name, which the yard then resolves, or words."""
    made: date
    """When it was said."""
    by: date
    """When it is known."""
    low: float | None = None
    """Lower end of what holds with 80%."""
    high: float | None = None
    """Upper end."""
    chance: float | None = Field(default=None, ge=0, le=1)
    """Instead of a range, how likely it happens."""
    outcome: float | None = None
    """What came: the number, or 1 and 0 for what happened and did not."""

    @model_validator(mode="after")
    def _one(self) -> Forecast:
        ranged = self.low is not None and self.high is not None
        if ranged == (self.chance is not None):
            raise ValueError("give low and high, or a chance")
        if ranged and not (self.low or 0) <= (self.high or 0):
            raise ValueError("low should not be above high")
        if self.by <= self.made:
            raise ValueError("`by` should be after `made`")
        return self


class Plan(Settings):
    """The block `plan`: all that the plan cannot measure."""

    currency: str = "USD"
    """Currency of every amount of this block."""
    usd_rate: float | None = Field(default=None, gt=0)
    """Units of the currency for one dollar, since devices and API prices are told in USD."""
    money: float | None = Field(default=None, ge=0)
    """What may be spent until there is a release."""
    deadline: date | None = None
    """When there must be a release."""
    months: int = Field(default=24, ge=3, le=60)
    """Months that the cash path covers."""
    stage: Stage = "prove"
    """How far the business is, which decides the skills that it needs."""
    load: Load | None = None
    """What customers will ask."""
    has: Has | None = None
    """What there is to learn from before a corpus is made; without it the sources' files are counted."""
    rent: tuple[str, ...] = ("RTX 4090", "L4", "A100-80GB", "H100")
    """Devices of the catalogue that may be rented."""
    own: tuple[str, ...] = ()
    """Devices that you own, besides this machine."""
    kwh_price: float = Field(default=0.2, ge=0)
    """Price of a kWh, for devices that you own."""
    private: bool = False
    """Whether the data must not leave your machines: no API is asked, and no device is rented."""
    team: tuple[Person, ...] = ()
    """The people."""
    goals: tuple[Goal, ...] = ()
    """What is to be reached, each with one owner."""
    principles: tuple[Principle, ...] = ()
    """What the team holds to, each bound to a gate."""
    responsible: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    """Who answers for a gate, a source of data or a module, by its name: one person, then a deputy."""
    learning: tuple[Item, ...] = ()
    """What is to be learnt."""
    retrospectives: tuple[Item, ...] = ()
    """What was decided to do otherwise."""
    business: Business | None = None
    """Money in and out."""
    scenarios: dict[str, Scenario] | None = None
    """Futures of your own, beside the nine that are built in; one of the same name replaces it."""
    forecasts: tuple[Forecast, ...] = ()
    """What somebody expects, scored when it is due."""

    @property
    def rate(self) -> float:
        """Units of the currency for one dollar."""
        return 1.0 if self.currency == "USD" else self.usd_rate or 1.0

    @model_validator(mode="after")
    def _agrees(self) -> Plan:
        if self.currency != "USD" and self.usd_rate is None:
            raise ValueError(
                f"devices are priced in USD and this block in {self.currency}: give usd_rate, the "
                f"{self.currency} for one dollar"
            )
        names = [person.name for person in self.team]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"two people are called {', '.join(sorted(twice))}: give each a name of its own")
        named = {
            **{f"the goal {goal.metric}": goal.owner for goal in self.goals},
            **{f"{item.what!r}": item.who for item in (*self.learning, *self.retrospectives)},
            **{what: who for what, people in self.responsible.items() for who in people},
        }
        for what, who in named.items():
            if names and who not in names:
                raise ValueError(f"{what} names {who}, who is not in team: {', '.join(names)}")
        if self.money is not None and self.business is not None and self.money > self.business.cash:
            told = sum(one.amount[1] for one in self.business.funding if one.kind != "compute credit")
            if self.money > self.business.cash + told:
                raise ValueError(
                    f"money: {self.money:g} is more than business.cash {self.business.cash:g} and all "
                    f"funding together: lower it, or tell where it comes from"
                )
        return self
