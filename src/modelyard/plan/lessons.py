"""Lessons of published companies, each as a rule that reads this project, with the cases behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .business import Service, Subscription
from .cash import Cash, runway_months
from .companies import Reported, reported
from .inputs import Inputs
from .routes import Route
from .team import Team


@dataclass(frozen=True, slots=True)
class Lesson:
    """A rule, what it read here, and who learnt it."""

    name: str
    about: str
    """innovation, strategy, people or funding."""
    rule: str
    kept: bool | None
    """None: the project does not tell enough."""
    read: str
    cases: Sequence[Reported]


@dataclass(frozen=True, slots=True)
class Read:
    """What the rules look at."""

    inputs: Inputs
    route: Route
    cash: Cash | None
    team: Team


Found = tuple[bool | None, str]
Rule = Callable[[Read], Found]


def lessons(read: Read) -> list[Lesson]:
    """Every rule, the broken ones first, then those that nobody can judge yet."""
    found = [
        Lesson(name, about, rule, *judge(read), cases=_cases(picks))
        for name, about, rule, judge, picks in RULES
    ]
    order = {False: 0, None: 1, True: 2}
    return sorted(found, key=lambda one: order[one.kept])


def _cases(picks: Sequence[tuple[str, str]]) -> list[Reported]:
    return [one for one in reported() if (one.company, one.metric) in picks]


def _not_tokens_alone(read: Read) -> Found:
    cash = read.cash
    if cash is None or not cash.revenue_year:
        return None, "no revenue is planned"
    streams = (
        {one.plan for one in read.inputs.plan.business.revenue if isinstance(one, Subscription)}
        if read.inputs.plan.business
        else set()
    )
    whole = sum(one.value for one in cash.revenue_year.values())
    tokens = sum(one.value for name, one in cash.revenue_year.items() if name in streams)
    share = tokens / whole if whole else 0.0
    return share <= 0.7, f"{share:.0%} of the first year's revenue are subscriptions"


def _service_first(read: Read) -> Found:
    business = read.inputs.plan.business
    if business is None or not business.revenue:
        return None, "no revenue is planned"
    kinds = {one.kind for one in business.revenue}
    has = any(isinstance(one, Service) for one in business.revenue) or "product" in kinds
    return has, f"revenue from {', '.join(sorted(kinds))}"


def _above_floor(read: Read) -> Found:
    cash = read.cash
    if cash is None or not cash.prices:
        return None, "nothing is sold"
    below = [one.name for one in cash.prices if one.floor is not None and one.price < one.floor]
    return not below, f"below its floor: {', '.join(below)}" if below else "every price is above its floor"


def _many_customers(read: Read) -> Found:
    sold = read.inputs.sold
    if sold is None or sold.customers < 2:
        return None, "fewer than two customers have been metered"
    return sold.largest_share <= 0.5, f"the largest customer uses {sold.largest_share:.0%}"


def _runway(read: Read) -> Found:
    cash, plan = read.cash, read.inputs.plan
    if cash is None:
        return None, "plan.business is not told"
    lead = max((one.lead_months[2] for one in plan.business.funding), default=6.0) if plan.business else 6.0
    months = runway_months(cash)
    told = f"{months} months until the cash is below zero with one in ten; money takes up to {lead:g}"
    return months >= lead + 3 or months == cash.months, told


def _compute_share(read: Read) -> Found:
    cash = read.cash
    if cash is None or not cash.shares:
        return None, "plan.business is not told"
    share = cash.shares.get("machines", 0.0)
    return share <= 0.4, f"{share:.0%} of the first year's costs are machines"


def _full_machines(read: Read) -> Found:
    capacity = read.route.answering.capacity if read.route.answering else None
    if capacity is None:
        told = read.inputs.load is not None
        return None, "on the best route no machine of yours answers" if told else "plan.load is not told"
    return (
        capacity.busy >= 0.1,
        f"{capacity.machines} machine{'s' * (capacity.machines > 1)}, busy {capacity.busy:.0%} at the peak",
    )


def _gain(read: Read) -> Found:
    standing = read.inputs.standing
    if "gain.task" not in standing.facts:
        return None, "gain.task has not been measured"
    fact = standing.facts["gain.task"][0]
    return (fact.low or 0) > 0, f"gain.task {fact.value:+.3f}, {standing.source('gain.task')}"


def _bus(read: Read) -> Found:
    team = read.team
    if team.bus_factor is None:
        return None, "plan.team is not told"
    least = 1 if team.stage == "prove" else 2
    return team.bus_factor >= least, f"{team.bus_factor} people could go on alone in the rarest skill needed"


def _goals(read: Read) -> Found:
    goals = read.team.goals
    if not goals:
        return False, "no goals"
    off = [one.metric for one in goals if one.state not in ("open", "reached")]
    return (
        not off,
        f"not on their way: {', '.join(off)}"
        if off
        else f"{len(goals)} goals, each with a number, a day and one owner",
    )


RULES: Sequence[tuple[str, str, str, Rule, Sequence[tuple[str, str]]]] = (
    (
        "not tokens alone",
        "strategy",
        "subscriptions and tokens bring at most 70% of the revenue",
        _not_tokens_alone,
        (("Zhipu", "cloud gross margin"), ("Zhipu", "share of on-premises deployment in revenue")),
    ),
    (
        "sell the work around it",
        "strategy",
        "services or products are sold beside answers",
        _service_first,
        (("Mistral", "annualised recurring revenue"), ("Cohere", "annualised recurring revenue")),
    ),
    (
        "prices above cost",
        "strategy",
        "no price is below the floor that its measured cost gives",
        _above_floor,
        (("MiniMax", "gross margin"), ("OpenAI", "gross margin"), ("Zhipu", "overall gross margin")),
    ),
    (
        "no customer is the business",
        "strategy",
        "no customer has more than half of the use",
        _many_customers,
        (("Zhipu", "top-five customers share"),),
    ),
    (
        "money outlasts the next round",
        "funding",
        "the cash lasts three months longer than the slowest money takes",
        _runway,
        (("OpenAI", "loss forecast (year)"), ("Zhipu", "net loss"), ("MiniMax", "net loss")),
    ),
    (
        "compute does not eat it",
        "funding",
        "machines are at most 40% of the costs",
        _compute_share,
        (("Zhipu", "R&D (half year)"), ("Zhipu", "R&D compute services (half year)")),
    ),
    (
        "full machines or none",
        "innovation",
        "a machine is busy for at least a tenth of its busiest hours, or answers are bought",
        _full_machines,
        (("DeepSeek", "serving cost per day"), ("DeepSeek", "theoretical revenue per day")),
    ),
    (
        "better than what is free",
        "innovation",
        "tuning gained something on held-out questions, by an interval above zero",
        _gain,
        (("DeepSeek", "V3 training cost"), ("Zhipu", "revenue")),
    ),
    (
        "nobody is alone",
        "people",
        "every skill that the stage needs is held by two, or one while proving",
        _bus,
        (("OpenAI", "staff who signed to leave"),),
    ),
    (
        "goals with owners",
        "people",
        "every goal has a number, a day and an owner who is there",
        _goals,
        (("OpenAI", "revenue forecast (year)"), ("OpenAI", "annualised run rate")),
    ),
)
