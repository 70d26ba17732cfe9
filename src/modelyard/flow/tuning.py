"""From Corpus and base to the Model: one run, or a search over many whose best becomes the Model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ProjectError, SourceError
from ..project import Project
from ..records.shapes import Record
from ..train.settings import SEARCH, TUNE, Budget, Search, SearchSettings, Train, TuneSettings
from .halving import MOST, RUNGS, Cost, cost, going_on, width
from .node import Line, Node
from .proposals import Proposals
from .search import price_of

RUNS_MIN = 3  # the default's, and as much again twice for all others
Roles = Mapping[str, tuple[Record, ...]]


def tuned(project: Project, inputs: Roles) -> Line[Record]:
    """The Model that the project asks for, from the records in `inputs`: corpus, model and teacher."""
    seed = project.train.seed or project.seed
    budget = minutes_of(project)
    train = project.train.model_copy(update={"seed": seed, "search": None, "budget": budget})
    told = project.train.search
    if told is None:
        (model,) = yield (Node(TUNE, TuneSettings(train=train), inputs),)
        return model
    if not inputs["corpus"][0].fact("data.pairs.select").value:
        raise SourceError(
            "a search compares its trials on pairs of select, and the corpus has none",
            where="train.search",
            try_="task: {hold_out: {select: 0.1}}, or no train.search",
        )
    runs = _Runs(told, inputs)
    yield from _ladder(runs, train, seed)
    price = price_of(project)
    settings = SearchSettings(
        minutes=told.minutes,
        tokens=_tokens(train, runs.made[0]),
        usd_per_hour=price.usd_per_hour,
        price_is_assumed=price.assumed,
    )
    (found,) = yield (Node(SEARCH, settings, {"trials": tuple(runs.made)}),)
    chosen = next(record for record in runs.made if record.id == found.json("search.json")["chosen"])
    best = TuneSettings(train=Train.model_validate(chosen.settings["train"]))
    (model,) = yield (Node(TUNE, best, {**inputs, "trial": (chosen,)}, label="chosen"),)
    return model


def minutes_of(project: Project) -> Budget:
    """The budget, money turned into minutes.

    Raises ProjectError where the machine has no price, or where a search has fewer minutes than its runs.
    """
    budget, search = in_minutes(project.train.budget, project), project.train.search
    if search is not None and budget.minutes is not None and search.minutes < RUNS_MIN * budget.minutes:
        raise ProjectError(
            f"a search of {search.minutes:g} minutes cannot pay for {RUNS_MIN} runs of {budget.minutes:g}",
            where="train.search.minutes",
            try_=f"minutes: {RUNS_MIN * budget.minutes:g} or more, or a smaller train.budget",
        )
    return budget


def in_minutes(budget: Budget, project: Project) -> Budget:
    """A budget, money turned into minutes. Raises ProjectError where the machine has no price."""
    price = project.machine.usd_per_hour
    if budget.usd is None:
        return budget
    if not price:
        raise ProjectError(
            "a budget in money needs the price of this machine",
            where="machine.usd_per_hour",
            try_="machine: {usd_per_hour: 0.08}, or a budget in minutes or tokens",
        )
    return Budget(minutes=float(budget.usd / price * 60))


@dataclass(slots=True)
class _Runs:
    """The runs of a search so far, and what is left of its minutes: by the records' seconds, by no clock."""

    told: Search
    inputs: Roles
    made: list[Record] = field(default_factory=list)

    @property
    def left_s(self) -> float:
        return self.told.minutes * 60 - sum(record.seconds for record in self.made)

    def run(self, train: Train, label: str) -> Line[Record]:
        """One more; each is proposed alone, since what comes next depends on it."""
        node = Node(TUNE, TuneSettings(train=train, trial=True), self.inputs, label=label)
        (record,) = yield (node,)
        self.made.append(record)
        return record


def _ladder(runs: _Runs, train: Train, seed: int) -> Line[None]:
    """The default settings in full, then as many others as the minutes pay for, from rung to rung."""
    default = yield from runs.run(train, "default")
    tokens = _tokens(train, default)
    like = train.model_copy(update={"precision": _choice(default, "train.precision")})
    proposals = Proposals(like, widest=_widest(runs.inputs["model"][0].json("config.json")), seed=seed)
    count = width(runs.left_s, cost(runs.made, tokens), runs.told.trials or MOST)
    if count < 2:
        return  # the default alone
    first = yield from runs.run(_on(like, tokens, RUNGS[0]), "default, a part of the tokens")
    proposals.tell_default(_loss(first))
    found: list[tuple[Train, Record]] = []
    while len(found) < count - 1 and _pays(runs, cost(runs.made, tokens), RUNGS[0]):
        asked = proposals.ask()
        record = yield from runs.run(_on(asked, tokens, RUNGS[0]), f"trial {len(found) + 2}")
        proposals.tell(_loss(record))
        found.append((asked, record))
    for share in RUNGS[1:]:
        count = going_on(count)
        best, found = sorted(found, key=lambda one: _loss(one[1])), []
        for asked, before in best[:count]:
            if _loss(before) < math.inf and _pays(runs, cost(runs.made, tokens), share):
                record = yield from runs.run(_on(asked, tokens, share), f"{share:.0%} of the tokens")
                found.append((asked, record))


def _pays(runs: _Runs, cost: Cost, share: float) -> bool:
    """Whether the minutes left pay for a run on this share, and for one on all tokens after it."""
    last = 0.0 if share == RUNGS[-1] else cost.of(RUNGS[-1])
    return cost.of(share) + last <= runs.left_s


def _loss(record: Record) -> float:
    """On `select` after the last step; endless where the run fell apart."""
    value = record.fact("train.loss_select").value
    return math.inf if value is None else value


def _on(train: Train, tokens: int, share: float) -> Train:
    return train.model_copy(update={"budget": Budget(tokens=max(1, round(tokens * share)))})


def _tokens(train: Train, default: Record) -> int:
    return train.budget.tokens or int(_choice(default, "train.budget_tokens"))


def _choice(record: Record, name: str) -> str:
    return next(choice.value for choice in record.choices if choice.name == name)


def _widest(config: Mapping[str, Any]) -> int:
    """The largest rank that every layer of the model can have; 1 where its config does not tell."""
    heads, width = config.get("num_attention_heads"), config.get("hidden_size")
    if not heads or not width:
        return 1
    keys = config.get("num_key_value_heads") or heads
    return min(int(width), int(keys) * int(config.get("head_dim") or width // heads))
