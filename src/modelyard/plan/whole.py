"""The whole plan of a project: routes, answering, team, business, position, lessons, outlook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..estimate.operations import training_token
from .cases import Case
from .cash import Cash
from .checks import checks
from .companies import Reported, alike
from .forecasts import Register, register
from .inputs import Inputs
from .lessons import Lesson, Read, lessons
from .nearest import Neighbour, nearest
from .outlook import Outlook, outcome, outlook
from .positioning import Position, position
from .routes import Route
from .team import Team, team
from .utilisation import SEQUENCE


@dataclass(frozen=True, slots=True)
class Whole:
    """Everything that `plan` tells of a project."""

    inputs: Inputs
    routes: Sequence[Route]
    team: Team
    cash: Cash | None
    position: Position
    runs: Sequence[Neighbour]
    """Published training runs that are most like the project's own."""
    companies: Sequence[tuple[str, Sequence[Reported]]]
    """Companies that sell what the project is to sell, with their newest numbers."""
    lessons: Sequence[Lesson]
    outlook: Sequence[Outlook]
    forecasts: Register
    training_flop: float
    """Of all the yard's runs and the one that is planned."""
    assumed: Sequence[str]
    calibrated: bool
    """Whether a run of this yard stands behind the speed of training."""


def whole(inputs: Inputs) -> Whole:
    """Raises ProjectError for what contradicts itself, all of it at once."""
    checks(inputs)
    now = outcome(inputs)
    best = now.routes[0]
    people = team(inputs, load_hours=now.cash.hours_per_week if now.cash else 0.0)
    base = inputs.standing.value("model.parameters") or inputs.parameters
    each = training_token(base, SEQUENCE, frozen=not inputs.whole)
    tokens = sum(one.tokens for one in inputs.standing.tuned) or inputs.tuning_tokens
    return Whole(
        *(inputs, now.routes, people, now.cash, position(inputs, best)),
        runs=nearest(_case(inputs)),
        companies=alike({one.kind for one in (inputs.plan.business.revenue if inputs.plan.business else ())}),
        lessons=lessons(Read(inputs, best, now.cash, people)),
        outlook=outlook(inputs, now),
        forecasts=register(inputs),
        training_flop=tokens * each,
        assumed=_assumed(inputs, now.cash),
        calibrated=any(one.here for one in inputs.standing.tuned),
    )


def _case(inputs: Inputs) -> Case:
    """The project's tuning as a row of the published table."""
    size = inputs.standing.value("model.parameters") or inputs.parameters
    return Case(
        kind="pretrain" if inputs.whole else "lora",
        total=size,
        active=size,
        tokens=inputs.tuning_tokens,
        sequence=None,
        batch_tokens=None,
        micro_batch=None,
        hardware="",
        devices=1.0,
        precision="bf16",
        parallelism="",
        recompute=None,
        year=None,
    )


def _assumed(inputs: Inputs, money: Cash | None) -> list[str]:
    found = list(inputs.assumed)
    if not inputs.standing.tuned:
        found.append("uncalibrated: this yard has trained nothing yet, `modelyard up` measures it")
    elif not any(one.here for one in inputs.standing.tuned):
        found.append("uncalibrated: trained on another machine, `modelyard plan --calibrate` measures this")
    if inputs.standing.speed is None:
        found.append("speed of answers by rated peak and bandwidth: no release was measured here")
    if inputs.load is None:
        found.append("plan.load is not told: no month of answering, no year")
    if money is None:
        found.append("plan.business is not told: no cash path")
    else:
        found += money.assumed
    found.append("hours of people by route: judgement")
    return list(dict.fromkeys(found))
