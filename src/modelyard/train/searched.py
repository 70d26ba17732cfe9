"""Step train.search: the trials of a search become a choice: which, by how much, at what cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import TrainingError
from ..records.shapes import Choice, Fact, Inputs, Output, Record, Workspace
from . import held
from .saving import write_json
from .settings import SearchSettings, Train

NAME = "search.json"


@dataclass(frozen=True, slots=True)
class Trial:
    """One combination of settings and its runs, shortest first."""

    number: int
    rate: float
    rank: int | None
    runs: tuple[Record, ...]

    @property
    def seconds(self) -> float:
        """Of all its runs."""
        return sum(run.seconds for run in self.runs)

    @property
    def last(self) -> Record:
        """Its longest run."""
        return self.runs[-1]

    def has(self, run: Record) -> bool:
        """Whether `run` is one of its runs."""
        return run.id in {one.id for one in self.runs}


def run(settings: SearchSettings, inputs: Inputs, workspace: Workspace) -> Output:
    """Choose among the records in role `trials`, of which the first is the default's in full.

    The lowest loss on `select` wins, whatever the run's length: fewer tokens may be better. Raises
    TrainingError when no run came to its end.
    """
    runs = inputs.all("trials")
    chosen = min(runs, key=lambda run: (loss(run), -planned(run, settings.tokens)))
    if loss(chosen) == math.inf:
        lower = Train.model_validate(runs[0].settings["train"]).rate / 8
        raise TrainingError(
            f"no run of the search came to its end; the default's: {runs[0].fact('train.loss_select').why}",
            where="train.search",
            try_=f"a lower rate: learning_rate: {lower:.2g}",
        )
    default, trials = runs[0], grouped(runs, settings.tokens)
    seconds = sum(run.seconds for run in runs)
    usd = settings.usd_per_hour / 3600
    told = f"{settings.usd_per_hour:g} USD/hour"
    if settings.price_is_assumed:
        told += " (assumed: nobody gave the price)"
    gain = difference(default, chosen)
    facts = {
        "search.trials": Fact(float(len(trials)), "settings"),
        "search.runs": Fact(float(len(runs)), "runs"),
        "search.seconds": Fact(seconds, "s", n=len(runs)),
        "search.usd": Fact(seconds * usd, "USD", n=len(runs), why=told),
        "search.loss_default": default.fact("train.loss_select"),
        "train.loss_select": chosen.fact("train.loss_select"),
        "gain.search": gain,
    }
    table = [row(trial, trials, default, chosen, settings) for trial in trials]
    write_json(
        workspace.out / NAME, {"chosen": chosen.id, "default": default.id, "price": told, "trials": table}
    )
    train = Train.model_validate(chosen.settings["train"])
    lora = train.method.lora if train.method is not None else None
    value = f"learning_rate {train.rate:g}, " + (f"rank {lora.rank}, " if lora else "")
    why = f"the lowest loss on select of {len(runs)} runs of {len(trials)} settings"
    value += f"{planned(chosen, settings.tokens)} tokens"
    return Output(facts, (Choice("train.search", value, why),))


def grouped(runs: Sequence[Record], full: int) -> list[Trial]:
    """The runs by their rate and rank, in the order in which these were first tried."""
    found: dict[tuple[float, int | None], list[Record]] = {}
    for run in runs:
        train = Train.model_validate(run.settings["train"])
        lora = train.method.lora if train.method is not None else None
        found.setdefault((train.rate, lora.rank if lora else None), []).append(run)
    return [
        Trial(number, rate, rank, tuple(sorted(some, key=lambda run: planned(run, full))))
        for number, ((rate, rank), some) in enumerate(found.items(), 1)
    ]


def row(
    trial: Trial, trials: Sequence[Trial], default: Record, chosen: Record, settings: SearchSettings
) -> dict[str, Any]:
    """A line of the table: the settings, the best run, what all its runs cost, and what became of it."""
    best = min(trial.runs, key=loss)
    return {
        "number": trial.number,
        "learning_rate": trial.rate,
        "rank": trial.rank,
        "tokens": planned(best, settings.tokens),
        "loss_select": asdict(best.fact("train.loss_select")),
        "seconds": trial.seconds,
        "usd": trial.seconds * settings.usd_per_hour / 3600,
        "runs": [run.id for run in trial.runs],
        "default": trial.has(default),
        **outcome(trial, trials, default, chosen, settings.tokens),
    }


def outcome(
    trial: Trial, trials: Sequence[Trial], default: Record, chosen: Record, full: int
) -> dict[str, Any]:
    """What became of a trial: chosen, in full, fell apart, passed over at a rung, or out of minutes."""
    if trial.has(chosen):
        return {"outcome": "chosen"}
    if loss(trial.last) == math.inf:
        return {"outcome": "fell apart", "why": trial.last.fact("train.loss_select").why}
    if planned(trial.last, full) == full:
        return {"outcome": "in full"}
    rung = len(trial.runs) - 1  # the default, run in full first, is not in the way of the others
    others = [one for one in trials if len(one.runs) > rung and not one.has(default)]
    on = sum(len(one.runs) > rung + 1 for one in others)
    if not on:
        return {"outcome": "out of minutes"}
    place = 1 + sum(loss(one.runs[rung]) < loss(trial.last) for one in others)
    return {"outcome": "passed over", "place": place, "of": len(others), "on": on}


def difference(default: Record, chosen: Record) -> Fact:
    """The default's loss on `select` minus that of the chosen run, pair by pair."""
    if default.id == chosen.id:
        return Fact(0.0, held.UNIT, why="the default settings are the chosen ones")
    if loss(default) == math.inf:
        return Fact(None, held.UNIT, why=default.fact("train.loss_select").why)
    theirs, ours = (_select(record) for record in (default, chosen))
    both = [(theirs[id], ours[id]) for id in theirs if id in ours]
    return held.mean([their.after - our.after for their, our in both], [their for their, _ in both])


def _select(record: Record) -> Mapping[str, held.Loss]:
    return {one.id: one for one in held.read(record.json(held.NAME)) if one.kind == "select"}


def loss(run: Record) -> float:
    """On `select` after the last step; endless where the run fell apart."""
    value = run.fact("train.loss_select").value
    return math.inf if value is None else value


def planned(run: Record, full: int) -> int:
    """The tokens that it was to take: those of its budget, or `full` where that is in another unit."""
    return int(run.settings["train"]["budget"]["tokens"] or full)
