"""Which way leads to a model for the task: each route with its time, money and evidence, and why it loses."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from .answering import Answering, answer
from .apis import apis
from .backtest import Range
from .inputs import Inputs
from .options import HERE, Option, options
from .people import people
from .settings import Scenario
from .training import train
from .whatif import PROJECT, Method

# Hours of people until a first release, low, middle and high: judgement, marked as assumed wherever shown.
EFFORT = {
    "buy": (16, 30, 60),
    "ground": (24, 45, 90),
    "lora": (40, 70, 140),
    "full": (50, 90, 180),
    "distil": (60, 110, 220),
    "prune": (60, 110, 220),
    "continue": (80, 160, 320),
    "scratch": (250, 500, 1200),
}
RISKS = {
    "buy": "the price, the model and its terms are another's to change; data leaves the house",
    "ground": "an untuned small base does not keep to a form and answers where nothing is stated",
    "lora": "the pairs are not what customers ask",
    "full": "it forgets what it knew, and needs more memory",
    "distil": "the teacher's mistakes and its terms of use come with its answers",
    "prune": "what is cut was needed for what nobody measured",
    "continue": "documents are learnt by heart and still answered from wrongly",
    "scratch": "too little data and money for what a free base knows already",
}
FEWEST_PAIRS = 200  # below, an interval on held-out pairs is wider than what tuning changes
TEACHER = 7e9  # parameters of a teacher, where nobody named one
CHINCHILLA, REPEATS = 20, 4  # tokens a parameter (arXiv:2203.15556); epochs nearly free (arXiv:2305.16264)
LEAST_MODEL = 1.3e8  # parameters below which no general language model answers
EQUAL = 0.03  # of two costs
ENOUGH = 0.8  # right answers, where no goal says so


@dataclass(frozen=True, slots=True)
class Quality:
    """What to expect: measured, or a class from 0 to 3 by what others found."""

    value: float | None
    expected: int
    evidence: str
    source: str


@dataclass(frozen=True, slots=True)
class Route:
    """A way to a release. Money in the plan's currency; `lost` is empty for the best one."""

    kind: str
    name: str
    on: str
    days: Range
    people_hours: Range
    machine_hours: Range | None
    build: Range
    month: float | None
    year: float | None
    """Building, and twelve months of answering."""
    per_answer: float | None
    """Of a bought answer."""
    quality: Quality
    risk: str
    basis: str
    answering: Answering | None
    unfit: tuple[str, ...]
    lost: str = ""


def routes(inputs: Inputs, shift: Scenario | None = None) -> Sequence[Route]:
    """All routes, the best first; one that breaks a limit of the project comes after all that do not."""
    shift = shift or Scenario()
    found = [*_bought(inputs, shift), *_made(inputs, shift)]
    found.sort(key=lambda one: _rank(inputs, one))
    best = found[0]
    whole = [replace(one, lost=_why(inputs, one, best)) for one in found]
    return whole if not best.unfit and inputs.has.documents + inputs.has.pairs else [_wait(whole), *whole]


def _rank(inputs: Inputs, route: Route) -> tuple[object, ...]:
    """Costs within 3% are equal; then here goes before owned, and owned before rented."""
    cost = route.year if route.year is not None else route.build.value
    near = 0 if route.on.startswith(HERE) else 2 if route.on.endswith("rent") else 1
    steps = round(math.log(max(cost, 1e-9)) / EQUAL)
    return (bool(route.unfit), -_class(inputs, route.quality), steps, near, cost)


def _class(inputs: Inputs, quality: Quality) -> float:
    """Measured: 3 where the goal is kept, else up to 2 by how near it came; half a step less of others."""
    if quality.value is None:
        return quality.expected - 0.5
    goal = wanted(inputs)
    return 3.0 if quality.value >= goal else 2 * quality.value / goal


def wanted(inputs: Inputs) -> float:
    """The share of right answers that is enough."""
    return next((one.target for one in inputs.plan.goals if one.metric == "quality.task"), ENOUGH)


def _why(inputs: Inputs, route: Route, best: Route) -> str:
    if route is best or route.unfit:
        return "; ".join(route.unfit)
    mine, theirs = _class(inputs, route.quality), _class(inputs, best.quality)
    if mine < theirs:
        return f"less is to be expected of it than of {best.name}"
    if route.year is not None and best.year is not None:
        return f"{route.year / best.year:.2g} times the cost of {best.name} in a year"
    return "what a year costs is unknown without plan.load"


def _wait(whole: Sequence[Route]) -> Route:
    """Nothing fits: do not start yet."""
    none = Range(0, 0, 0)
    reasons = next((one.unfit for one in whole if one.unfit), ()) or ("no documents and no pairs",)
    quality = Quality(None, 0, "nothing is built", "")
    return Route(
        *("wait", "do not start yet", "", none, none, None, none, 0.0, 0.0, None, quality),
        risk="others do not wait",
        basis=f"no route keeps all limits; the nearest fails at: {reasons[0]}",
        answering=None,
        unfit=(),
    )


def _bought(inputs: Inputs, shift: Scenario) -> list[Route]:
    found = []
    for api in sorted(apis(), key=lambda one: one.usd_per_answer(inputs.input_tokens, inputs.output_tokens)):
        each = api.usd_per_answer(inputs.input_tokens, inputs.output_tokens)
        each *= shift.api_price * inputs.plan.rate
        month = each * inputs.load.requests_per_day * 30 if inputs.load else None
        age = " (older than half a year: look it up again)" if api.is_old(inputs.today) else ""
        found.append(
            _route(
                inputs,
                "buy",
                f"buy {api.model}",
                api.provider,
                shift=shift,
                month=month,
                per_answer=each,
                basis=f"list price of {api.date}{age}",
            )
        )
    return found[:1] + found[-1:]  # the cheapest and the dearest


def _made(inputs: Inputs, shift: Scenario) -> list[Route]:
    """Ground, and each way to train, on the option where a year costs least."""
    found = []
    for kind, method, parameters, tokens, teacher in _runs(inputs, shift):
        each = []
        for option in options(inputs.plan, inputs.here, shift):
            served = _served(inputs, shift, option, parameters)
            if served is None:
                continue
            if method is None:
                each.append(_route(inputs, kind, NAMES[kind], option.name, shift=shift, answering=served))
                continue
            trained = train(
                inputs, option, method=method, parameters=parameters, tokens=tokens, teacher=teacher
            )
            if trained is None:
                continue
            hours = trained.hours
            machine = Range(*(one * trained.devices for one in (hours.value, hours.low, hours.high)))
            on = option.name if trained.devices == 1 else f"{trained.devices} x {option.name}"
            each.append(
                _route(
                    *(inputs, kind, NAMES[kind], on),
                    shift=shift,
                    option=option,
                    machine=machine,
                    wall_hours=hours,
                    answering=served,
                    basis=trained.basis,
                )
            )
        if not each:
            made = _route(inputs, kind, NAMES[kind], "", shift=shift)
            each = [replace(made, unfit=("fits no device that may be used", *made.unfit))]
        found.append(min(each, key=lambda one: _rank(inputs, one)))
    return found


NAMES = {
    "ground": "ground an untuned base",
    "lora": "tune adapters",
    "full": "tune all weights",
    "distil": "distil a larger model",
    "prune": "prune, then recover",
    "continue": "continue pre-training",
    "scratch": "train from scratch",
}


def _runs(inputs: Inputs, shift: Scenario) -> list[tuple[str, Method | None, float, float, float]]:
    """Route, what learns, parameters that answer, tokens, teacher."""
    base, tokens = inputs.parameters, inputs.tuning_tokens
    own = max(LEAST_MODEL, min(base, inputs.has.tokens * shift.data * REPEATS / CHINCHILLA))
    return [
        ("ground", None, base, 0.0, 0.0),
        ("lora", "lora", base, tokens, 0.0),
        ("full", "full", base, tokens, 0.0),
        ("distil", "lora", base, tokens, TEACHER),
        ("prune", "full", base * 0.85, tokens * 2, 0.0),
        ("continue", "full", base, max(tokens, inputs.has.tokens * shift.data), 0.0),
        ("scratch", "full", own, own * CHINCHILLA, 0.0),
    ]


def _served(inputs: Inputs, shift: Scenario, trained_on: Option, parameters: float) -> Answering | None:
    """Where it answers: of what keeps the load, where it costs least."""
    each = [
        found
        for option in options(inputs.plan, inputs.here, shift)
        if (found := answer(inputs, option, parameters)) is not None
    ]
    if inputs.load is None:
        return next((one for one in each if one.option.name == trained_on.name), None)
    kept = [one for one in each if one.capacity is not None]
    return min(kept, key=lambda one: one.usd_per_month or 0.0) if kept else (each[0] if each else None)


def _route(
    inputs: Inputs,
    kind: str,
    name: str,
    on: str,
    *,
    shift: Scenario,
    option: Option | None = None,
    machine: Range | None = None,
    wall_hours: Range | None = None,
    month: float | None = None,
    per_answer: float | None = None,
    answering: Answering | None = None,
    basis: str = "",
) -> Route:
    """Sum up: hours of people and machines, money, what breaks a limit."""
    team, rate = people(inputs), inputs.plan.rate
    done = kind == standing_kind(inputs)
    effort = [shift.compliance_hours + (0 if done else one) for one in EFFORT[kind]]
    if done:
        machine, basis = None, f"released: record {inputs.standing.release}"
    per_hour = team.cost_per_hour
    run = [0.0, 0.0, 0.0]
    if machine is not None and option is not None:
        parts = zip((machine.low, machine.value, machine.high), option.usd_per_hour, PROJECT, strict=True)
        run = [hours * price * tries * rate for hours, price, tries in parts]
    build = [hours * per_hour + money for hours, money in zip(effort, run, strict=True)]
    wall = wall_hours if wall_hours is not None and not done else Range(0, 0, 0)
    queue = shift.queue_days if option is not None and option.kind == "rent" else 0.0
    days = [
        hours / max(team.hours_per_week, 1e-9) * 7 + ran * tries / 24 + queue
        for hours, ran, tries in zip(effort, (wall.low, wall.value, wall.high), PROJECT, strict=True)
    ]
    if answering is not None and answering.usd_per_month is not None:
        month = answering.usd_per_month * rate
    year = None if month is None else build[1] + 12 * month
    made = Route(
        *(kind, name, on, _range(days), _range(effort), machine, _range(build), month, year, per_answer),
        quality=_quality(inputs, kind),
        risk=RISKS[kind],
        basis=basis,
        answering=answering,
        unfit=(),
    )
    return replace(made, unfit=tuple(_unfit(inputs, made, shift)))


def _range(three: Sequence[float]) -> Range:
    return Range(three[1], three[0], three[2])


def _unfit(inputs: Inputs, route: Route, shift: Scenario) -> list[str]:
    """Which limits of the project it breaks."""
    plan = inputs.plan
    found = _short(inputs, route.kind, shift)
    if route.kind == "buy" and plan.private:
        found.append("plan.private: the data must not leave your machines")
    if plan.money is not None and route.build.high > plan.money:
        found.append(f"may cost {route.build.high:,.0f} {plan.currency}, and there are {plan.money:,.0f}")
    if plan.deadline is not None:
        left = (plan.deadline - inputs.today).days
        if route.days.high > left:
            found.append(f"may take {route.days.high:.0f} days, and there are {left}")
    if inputs.load and route.answering is not None and route.answering.capacity is None:
        found.append(f"one answer alone takes longer than {inputs.load.p95_s:g} s")
    return found


def _short(inputs: Inputs, kind: str, shift: Scenario) -> list[str]:
    """What there is too little of to learn from, or not yet."""
    if kind == "buy":
        return []
    if inputs.lacking:
        return [f"not there yet: {', '.join(inputs.lacking)}"]
    has = inputs.has
    pairs, tokens = has.pairs * shift.data, has.tokens * shift.data
    if kind == "ground" and not has.documents:
        return ["there are no documents to ground on"]
    if kind in ("lora", "full", "distil", "prune") and pairs < FEWEST_PAIRS:
        return [f"{pairs:.0f} pairs, and {FEWEST_PAIRS} are the fewest whose effect can be measured"]
    if kind == "continue" and tokens < 1e7:
        return [f"{tokens:.2g} tokens of documents, and 1e+07 are the fewest to learn from"]
    least = LEAST_MODEL * CHINCHILLA / REPEATS
    if kind == "scratch" and tokens < least:
        return [f"{tokens:.2g} tokens of documents, and the smallest model wants {least:.2g}"]
    return []


def standing_kind(inputs: Inputs) -> str | None:
    """The route that has led to the release that stands; None before there is one."""
    return inputs.kind if inputs.standing.release is not None else None


def _quality(inputs: Inputs, kind: str) -> Quality:
    standing = inputs.standing
    if kind == standing_kind(inputs) and standing.value("quality.task") is not None:
        told = standing.facts["quality.task"][0]
        return Quality(told.value, 3, "measured on held-out questions", standing.source("quality.task"))
    if kind == "ground" and standing.untuned is not None:
        value, record = standing.untuned
        return Quality(value, 1, "the base on the same questions", f"measured: record {record}")
    for row in _evidence():
        if row["route"] == kind and (row["tasks"] == "*" or inputs.task in row["tasks"].split()):
            return Quality(None, int(row["expected"]), row["evidence"], row["source"])
    return Quality(None, 1, "nothing is known", "")


def run_cost(inputs: Inputs, route: Route) -> float:
    """What the machines that train cost, in the middle; in the plan's currency."""
    return max(0.0, route.build.value - route.people_hours.value * people(inputs).cost_per_hour)


@cache
def _evidence() -> Sequence[dict[str, str]]:
    with (files(__package__) / "cases" / "evidence.csv").open(encoding="utf-8") as lines:
        return tuple(csv.DictReader(lines))
