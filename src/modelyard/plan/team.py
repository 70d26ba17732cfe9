"""Who can do what, what is missing and the cheapest way to get it, who answers for what, what is overdue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import product
from typing import get_args

from ..estimate.economics import DEVELOPER_USD_PER_HOUR
from ..records.roles import Role, allowed
from .inputs import Inputs
from .people import cost_of, people
from .settings import SKILLS, Item, Person, Skill, Stage

# Skills that must be there at level 2 in the house, and those that may be bought, by stage: our own
# judgement, said as such in docs/plan.md.
PROVE: tuple[Skill, ...] = ("domain", "data", "evaluation")
FIRST: tuple[Skill, ...] = (*PROVE, "tuning", "serving", "sales", "security")
REPEATABLE: tuple[Skill, ...] = (*FIRST, "annotation", "compression", "finance", "product")
NEEDED: dict[Stage, tuple[Skill, ...]] = {
    "prove": PROVE,
    "first customers": FIRST,
    "repeatable": REPEATABLE,
    "scale": (*REPEATABLE, "distributed"),
}
BUYABLE: dict[Stage, tuple[Skill, ...]] = {
    "prove": ("tuning", "law", "finance"),
    "first customers": ("distributed", "law"),
    "repeatable": ("law",),
    "scale": ("law",),
}
ENOUGH = 2  # the level at which somebody works alone, and the people who should have it
LEARN_HOURS = 60.0  # for one level, and
LEARN_SHARE = 0.25  # of the week that can go into it: assumed
HIRE_DAYS, HIRE_COST = 90, 0.2  # to find somebody and of a year's cost to do so: assumed
CONTRACT_DAYS, CONTRACT_PREMIUM = 14, 1.5
PARTNER_DAYS, PARTNER_SHARE = 45, 0.1  # a firm that shares the revenue: of six months' cost of a person
BUY_DAYS, BUY_USD_PER_MONTH = 7, 500.0
MONTHS = 6  # over which ways to close a gap are compared
NEEDED_HOURS = 8.0  # a week that a bought or hired skill is wanted, at least
MOST_GAPS = 8  # closed at once: three ways each are then 6,561 combinations
ON_CALL = 3  # people below whom round the clock is flagged
# Whose skill answers for what.
FITTING: dict[str, Skill] = {"gate": "evaluation", "source": "data", "module": "serving"}
MODULES = ("data", "train", "optimize", "verify", "release", "serve", "bill")
MODULE_SKILLS: dict[str, Skill] = {
    "data": "data",
    "train": "tuning",
    "optimize": "compression",
    "verify": "evaluation",
    "release": "evaluation",
    "serve": "serving",
    "bill": "finance",
}


@dataclass(frozen=True, slots=True)
class Way:
    """One way to close a gap. USD over six months."""

    how: str
    who: str
    usd: float
    days: float


@dataclass(frozen=True, slots=True)
class Gap:
    """A skill that is short: the best level there is, and how many reach level 2."""

    skill: Skill
    best: int
    able: int
    why: str
    ways: tuple[Way, ...]
    """From the best one on; empty for what nobody can give in time."""


@dataclass(frozen=True, slots=True)
class Duty:
    """Who answers for something."""

    what: str
    who: str | None
    deputy: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Aim:
    """A goal, and where it stands."""

    metric: str
    target: float
    now: float | None
    day: date
    owner: str
    state: str
    """reached, open, late, or without an owner."""
    source: str


@dataclass(frozen=True, slots=True)
class Team:
    """The team, held against its stage."""

    stage: Stage
    coverage: int | None
    """The lowest of the best levels of what the stage needs; None where nobody told the team."""
    bus_factor: int | None
    """The fewest people at level 2 of a skill that the stage needs."""
    hours_per_week: float
    wanted_hours_per_week: float
    """Of the work that revenue and customers bring, in the first months."""
    gaps: Sequence[Gap]
    closing: Sequence[tuple[Skill, Way]]
    """One way for each gap, together the cheapest that keep deadline and money."""
    duties: Sequence[Duty]
    goals: Sequence[Aim]
    principles: Sequence[tuple[str, str, bool]]
    """Text, gate, and whether the release has that gate."""
    late: Sequence[tuple[str, Item]]
    warnings: Sequence[str]


def team(inputs: Inputs, *, load_hours: float = 0.0) -> Team:
    """Read the team on the day of the plan. `load_hours`: a week that sold work takes."""
    plan, there = inputs.plan, people(inputs)
    members = there.there
    need = NEEDED[plan.stage]
    levels = {skill: sorted((one.skills.get(skill, 0) for one in members), reverse=True) for skill in SKILLS}
    short = (_gap(inputs, skill, levels[skill], members) for skill in need) if plan.team else ()
    gaps = [gap for gap in short if gap is not None]
    able = {skill: sum(level >= ENOUGH for level in levels[skill]) for skill in need}
    known = bool(plan.team)
    closing = _closing(inputs, gaps) if known else []
    return Team(
        stage=plan.stage,
        coverage=min((levels[skill] or [0])[0] for skill in need) if known else None,
        bus_factor=min(able.values()) if known else None,
        hours_per_week=there.hours_per_week,
        wanted_hours_per_week=load_hours,
        gaps=gaps,
        closing=closing,
        duties=_duties(inputs, members),
        goals=[_aim(inputs, at) for at in range(len(plan.goals))],
        principles=[(one.text, one.gate, one.gate in inputs.gates) for one in plan.principles],
        late=_late(inputs),
        warnings=[*_warnings(inputs, members, load_hours, there.hours_per_week), *_unclosed(gaps, closing)],
    )


def _gap(inputs: Inputs, skill: Skill, levels: Sequence[int], members: Sequence[Person]) -> Gap | None:
    """None where enough people have it: one to prove, two as soon as there are customers."""
    stage = inputs.plan.stage
    able = sum(level >= ENOUGH for level in levels)
    wanted = 1 if stage == "prove" else ENOUGH
    if able >= wanted:
        return None
    best = max(levels, default=0)
    why = f"{able} of {wanted} who work alone"
    return Gap(skill, best, able, why, tuple(_ways(inputs, skill, members)))


def _ways(inputs: Inputs, skill: Skill, members: Sequence[Person]) -> list[Way]:
    """Every way, the cheapest first; a day of delay is worth a hundredth of a month's cost of the team."""
    plan, weeks = inputs.plan, MONTHS * 52 / 12
    hour = DEVELOPER_USD_PER_HOUR
    found = []
    learners = [one for one in members if 0 <= one.skills.get(skill, 0) < ENOUGH]
    if learners:
        who = max(learners, key=lambda one: (one.skills.get(skill, 0), one.hours_per_week))
        hours = LEARN_HOURS * (ENOUGH - who.skills.get(skill, 0))
        days = hours / (who.hours_per_week * LEARN_SHARE) * 7
        stays = who.leaves is None or (who.leaves - inputs.today).days > days
        found += [Way("learn", who.name, hours * cost_of(who), days)] if stays else []
    found.append(Way("hire", "", hour * 20 * weeks + hour * 2080 * HIRE_COST, HIRE_DAYS))
    found.append(Way("contract", "", hour * CONTRACT_PREMIUM * NEEDED_HOURS * weeks, CONTRACT_DAYS))
    found.append(Way("partner", "", hour * 40 * weeks * PARTNER_SHARE, PARTNER_DAYS))
    if skill in BUYABLE[plan.stage]:
        found.append(Way("buy", "", BUY_USD_PER_MONTH * MONTHS, BUY_DAYS))
    return sorted(found, key=lambda way: way.usd * (1 + way.days / 300))


def _closing(inputs: Inputs, gaps: Sequence[Gap]) -> list[tuple[Skill, Way]]:
    """Of all combinations of ways the cheapest that keeps deadline and cash; nobody learns two at once."""
    plan = inputs.plan
    left = (plan.deadline - inputs.today).days if plan.deadline else 365
    cash = plan.business.cash / plan.rate if plan.business else float("inf")
    choices: list[list[Way | None]] = [
        [*[way for way in gap.ways if way.days <= left][:3]] or [None] for gap in gaps[:MOST_GAPS]
    ]
    best: tuple[float, tuple[Way | None, ...]] | None = None
    chosen: tuple[Way | None, ...]
    for chosen in product(*choices):
        learners = [way.who for way in chosen if way and way.how == "learn"]
        usd = sum(way.usd for way in chosen if way is not None)
        if len(learners) == len(set(learners)) and usd <= cash and (best is None or usd < best[0]):
            best = (usd, chosen)
    if best is None:
        return []
    return [(gap.skill, way) for gap, way in zip(gaps, best[1], strict=False) if way]


def _unclosed(gaps: Sequence[Gap], closing: Sequence[tuple[Skill, Way]]) -> list[str]:
    """What is left open, and why."""
    if not gaps or len(closing) == len(gaps):
        return []
    if not closing:
        return ["no combination of ways closes the gaps within deadline and cash"]
    return [f"{len(gaps) - len(closing)} gaps stay open: too many at once, or no way keeps the deadline"]


def _duties(inputs: Inputs, members: Sequence[Person]) -> list[Duty]:
    """One person for each gate, source and module: as told while there, else the ablest with least to do."""
    things = [
        *((f"gate {name}", "gate", name) for name in sorted(inputs.gates)),
        *((f"source {name}", "source", name) for name in inputs.sources),
        *((f"module {name}", "module", name) for name in MODULES),
    ]
    there = {one.name: one for one in members}
    burden: dict[str, int] = dict.fromkeys(there, 0)
    found = []
    for what, kind, name in things:
        told = inputs.plan.responsible.get(name, ())
        named = [who for who in told if who in there and _may(there[who], kind)]
        skill = MODULE_SKILLS[name] if kind == "module" else FITTING[kind]
        able = sorted(
            (one for one in members if _may(one, kind)),
            key=lambda one: (-one.skills.get(skill, 0), burden[one.name], one.name),
        )
        order = [*named, *(one.name for one in able if one.name not in named)]
        who, deputy = (order[0] if order else None), (order[1] if len(order) > 1 else None)
        if who:
            burden[who] += 1
        found.append(Duty(what, who, deputy, _reason(inputs, told, who, there, skill, kind)))
    return found


def _may(person: Person, kind: str) -> bool:
    """A gate or a module needs the right to release, a source that to label (records/roles.py)."""
    return allowed(person.role, "label" if kind == "source" else "release")


def _reason(
    inputs: Inputs,
    told: Sequence[str],
    who: str | None,
    there: Mapping[str, Person],
    skill: Skill,
    kind: str,
) -> str:
    if who is None:
        return "nobody may: no member has the role" if inputs.plan.team else "nobody told the team"
    if told and told[0] == who:
        return "as told"
    gone = [name for name in told if name not in there]
    if gone:
        return f"{gone[0]} is not there: passed on"
    if told:
        return f"{told[0]} has the role {there[told[0]].role}, which may not"
    return f"proposed: {skill} {there[who].skills.get(skill, 0)}"


def _aim(inputs: Inputs, at: int) -> Aim:
    goal = inputs.plan.goals[at]
    now = inputs.standing.value(goal.metric)
    if goal.metric == "customers" and inputs.sold:
        now = float(inputs.sold.customers)
    less = _less_is_better(goal.metric)
    reached = now is not None and (now <= goal.target if less else now >= goal.target)
    state = "reached" if reached else "late" if goal.date < inputs.today else "open"
    owner = next((one for one in inputs.plan.team if one.name == goal.owner), None)
    if not reached and owner is not None and owner.leaves is not None and owner.leaves < goal.date:
        state = "its owner leaves before"
    return Aim(
        goal.metric, goal.target, now, goal.date, goal.owner, state, inputs.standing.source(goal.metric)
    )


def _less_is_better(metric: str) -> bool:
    from ..records.facts import FACTS

    return metric in FACTS and FACTS[metric].better == "low"


def _late(inputs: Inputs) -> list[tuple[str, Item]]:
    items = [
        *(("learning", one) for one in inputs.plan.learning),
        *(("retrospective", one) for one in inputs.plan.retrospectives),
    ]
    return [(kind, one) for kind, one in items if one.done is None and one.due < inputs.today]


def _warnings(inputs: Inputs, members: Sequence[Person], wanted: float, hours: float) -> list[str]:
    plan, found = inputs.plan, []
    if plan.team and not members:
        found.append("nobody of the team is there today")
    if wanted > hours:
        found.append(f"sold work takes {wanted:.0f} hours a week, and the team has {hours:.0f}")
    if plan.stage in ("repeatable", "scale") and 0 < len(members) < ON_CALL:
        found.append(f"{len(members)} people cannot be on call round the clock: {ON_CALL} are the fewest")
    missing = [role for role in get_args(Role)[:1] if members and all(one.role != role for one in members)]
    found += [f"nobody has the role {role}" for role in missing]
    for one in plan.team:
        if one.leaves is not None and inputs.today <= one.leaves and (one.leaves - inputs.today).days <= 90:
            sole = [
                skill
                for skill in NEEDED[plan.stage]
                if one.skills.get(skill, 0) >= ENOUGH
                and not any(other.skills.get(skill, 0) >= ENOUGH for other in members if other is not one)
            ]
            told = f"; nobody else has {', '.join(sole)}" if sole else ""
            found.append(f"{one.name} leaves on {one.leaves}{told}")
    for one in plan.team:
        if one.joins is not None and one.leaves is not None and one.leaves < one.joins:
            found.append(f"{one.name} leaves before joining")
    return found
