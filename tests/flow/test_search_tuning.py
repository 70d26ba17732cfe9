"""The search of the tuning: on a made-up loss for its logic, and once for real on a tiny model."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.line.command import Command
from tests.line.desk import PROJECT, write_desk
from tests.tiny import tiny_model
from tests.train.stage import TRAIN, inputs, write_corpus

from modelyard.cli.place import Place
from modelyard.cli.standing import standing
from modelyard.errors import MissingPackage, ProjectError, SourceError, TrainingError
from modelyard.flow import Done, Node, Stale, Walk, Watcher, line, proposals
from modelyard.flow.halving import RUNGS, Cost, going_on, width
from modelyard.flow.tuning import minutes_of, tuned
from modelyard.project import MachineBlock, Project
from modelyard.records.shapes import Choice, Fact, Inputs, Record, Workspace
from modelyard.train import searched, tune
from modelyard.train.settings import SEARCH, TUNE, Budget, Search, Train, TuneSettings

FULL, FIXED_S, TPS = 90_000, 4.0, 300.0
Loss = Callable[[float, int, int], float]


def bowl(rate: float, rank: int, tokens: int) -> float:
    """Best at a rate of 6e-4 and a rank of 32; more tokens are better."""
    return 1 + math.log(rate / 6e-4) ** 2 + 0.1 * math.log2(rank / 32) ** 2 + 20_000 / tokens


@dataclass
class Made:
    """What a made-up search did."""

    runs: list[Record] = field(default_factory=list)
    chosen: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Fact] = field(default_factory=dict)
    model: Record | None = None

    @property
    def seconds(self) -> float:
        return sum(run.seconds for run in self.runs)


def record(step: str, id: str, folder: Path, **told: Any) -> Record:
    told = {"settings": {}, "facts": {}, "choices": (), "seconds": 0.0} | told
    return Record(
        id, step, id, id, told["settings"], {}, told["facts"], told["choices"], {}, {}, "", "",
        told["seconds"], 1, lambda: folder,
    )  # fmt: skip


def run_of(node: Node, number: int, loss: Loss, root: Path, slow: float) -> Record:
    """The record of a run whose loss is made up."""
    train = node.settings.train  # type: ignore[attr-defined]
    tokens, folder = train.budget.tokens or FULL, root / f"run{number}"
    folder.mkdir()
    value, seconds = loss(train.rate, train.method.lora.rank, tokens), slow * (FIXED_S + tokens / TPS)
    pairs = [
        {"kind": "select", "id": f"p{at}", "group": f"g{at % 5}", "labels": 2, "before": 9.0}
        | {"after": 2 * value + 0.01 * at}
        for at in range(10)
    ]
    (folder / "held.json").write_text(json.dumps(pairs))
    unit = "nats/token"
    if value == math.inf:
        facts, seconds = {"train.loss_select": Fact(None, unit, why="at step 3 the loss is nan")}, 5.0
    else:
        facts = {"train.loss_select": Fact(value, unit), "train.tokens": Fact(tokens, "tokens")}
        facts["train.tps"] = Fact(TPS / slow, "tokens/s")
    choices = [Choice("train.precision", "bf16", "faster")]
    if train.budget.minutes:
        choices.append(Choice("train.budget_tokens", str(FULL), "measured"))
    told = node.settings.model_dump(mode="json")
    return record(
        TUNE.name, f"r{number}", folder, settings=told, facts=facts, choices=tuple(choices), seconds=seconds
    )


def search(
    root: Path, loss: Loss = bowl, *, train: dict[str, Any] | None = None, slower: float = 1.0, **told: Any
) -> Made:
    """Follow the search with made-up runs; the step train.search is the real one.

    All runs but the first take `slower` times as long as it made them look.
    """
    (root / "config.json").write_text('{"hidden_size": 576, "num_attention_heads": 9, "head_dim": 64}')
    asked = {"budget": {"minutes": 5}, "search": told} | (train or {})
    project = Project.model_validate(
        {"version": 1, "name": "a", "train": asked, "machine": {"usd_per_hour": "0.36"}}
        | {"data": {"sources": [{"path": "x", "licence": "MIT", "owner": "X", "basis": "own"}]}}
    )
    corpus = record("data.prepare", "c", root, facts={"data.pairs.select": Fact(30, "pairs")})
    steps = tuned(project, {"corpus": (corpus,), "model": (record("train.base", "b", root),)})
    made, workspace = Made(), Workspace(root / "search", 1, lambda *_, **__: None)
    workspace.out.mkdir(parents=True)
    nodes = next(steps)
    while True:
        (node,) = nodes
        if node.step == SEARCH:
            output = searched.run(node.settings, node.given(), workspace)  # type: ignore[arg-type]
            made.facts = dict(output.facts)
            made.chosen = json.loads((workspace.out / "search.json").read_text())
            found = record(SEARCH.name, "s", workspace.out, facts=output.facts)
        elif "trial" in node.inputs:
            assert not node.settings.trial  # type: ignore[attr-defined]
            found = made.model = node.inputs["trial"][0]
        else:
            found = run_of(node, len(made.runs), loss, root, slower if made.runs else 1.0)
            made.runs.append(found)
        try:
            nodes = steps.send((found,))
        except StopIteration:
            return made


def told(run: Record) -> Train:
    return Train.model_validate(run.settings["train"])


def rank(run: Record) -> int:
    method = told(run).method
    assert method is not None
    assert method.lora is not None
    return method.lora.rank


def value(run: Record) -> float:
    found = run.facts["train.loss_select"].value
    return math.inf if found is None else found


def test_the_first_trial_is_the_default_in_full_and_another_wins_where_it_is_better(tmp_path: Path) -> None:
    made = search(tmp_path, minutes=60)
    first, best = made.runs[0], made.model
    assert told(first).model_dump() == Train(budget={"minutes": 5}).model_dump()  # type: ignore[arg-type]
    assert best is not None
    assert value(best) == min(map(value, made.runs))
    assert made.facts["search.loss_default"].value == value(first)
    gain = made.facts["gain.search"]
    assert gain.value == pytest.approx(value(first) - value(best))
    assert gain.low is not None
    assert 2.5e-4 <= told(best).rate <= 8e-3
    assert told(best).rate < 1.2e-3
    assert all(rank(run) % 4 == 0 for run in made.runs)
    assert len({(told(run).rate, rank(run)) for run in made.runs}) >= 9
    assert {told(run).precision for run in made.runs[1:]} == {"bf16"}


def test_settings_nearer_to_the_best_are_tried_more_once_some_losses_are_known(tmp_path: Path) -> None:
    made = search(tmp_path, minutes=400)
    short = [run for run in made.runs[1:] if told(run).budget.tokens == FULL // 9]
    far = [abs(math.log(told(run).rate / 6e-4)) for run in short]
    assert len(far) > 40
    assert sum(far[-20:]) < 0.6 * sum(far[1:21])


def test_of_many_short_runs_a_third_goes_on_and_each_run_is_a_record_of_its_own(tmp_path: Path) -> None:
    made = search(tmp_path, minutes=60, trials=12)
    others = made.runs[1:]  # besides the default in full
    rungs = [[run for run in others if told(run).budget.tokens == round(FULL * share)] for share in RUNGS]
    assert [len(rung) for rung in rungs] == [12, 4, 2]
    for shorter, longer in itertools.pairwise(rungs):
        pool = [run for run in shorter if told(run).rate != 2e-3]
        best = sorted(pool, key=value)[: len(longer)]
        assert {(told(run).rate, rank(run)) for run in best} == {
            (told(run).rate, rank(run)) for run in longer
        }
    outcomes = [trial["outcome"] for trial in made.chosen["trials"]]
    assert outcomes.count("chosen") == 1
    assert outcomes.count("passed over") == 9  # of 11 others, two came to the end
    stopped = [trial for trial in made.chosen["trials"] if trial["outcome"] == "passed over"]
    assert {(trial["of"], trial["on"]) for trial in stopped} == {(11, 4), (4, 2)}
    assert {trial["place"] for trial in stopped if trial["of"] == 11} == set(range(5, 12))


@settings(max_examples=12, deadline=None)
@given(st.floats(15, 300), st.none() | st.integers(2, 30), st.floats(1, 1.6))
def test_the_minutes_hold_and_the_same_losses_give_the_same_runs(
    tmp_path_factory: pytest.TempPathFactory, minutes: float, trials: int | None, slower: float
) -> None:
    made, again = (
        search(tmp_path_factory.mktemp("search"), minutes=minutes, trials=trials, slower=slower)
        for _ in range(2)
    )
    surprise = (slower - 1) * (FIXED_S + FULL * RUNGS[0] / TPS)  # the first slow run is not foreseen
    assert made.seconds <= minutes * 60 + surprise
    assert [run.settings for run in made.runs] == [run.settings for run in again.runs]
    assert made.facts["search.seconds"].value == pytest.approx(made.seconds)
    assert made.facts["search.usd"].value == pytest.approx(made.seconds * 0.36 / 3600)
    assert sum(trial["seconds"] for trial in made.chosen["trials"]) == pytest.approx(made.seconds)
    usd = sum(trial["usd"] for trial in made.chosen["trials"])
    assert usd == pytest.approx(made.facts["search.usd"].value)
    if trials is not None:
        assert (made.facts["search.trials"].value or 0) <= trials


def test_minutes_that_pay_for_the_default_alone_give_the_default(tmp_path: Path) -> None:
    made = search(tmp_path, train={"budget": {"tokens": FULL}}, minutes=6)
    assert len(made.runs) == 1
    assert made.model == made.runs[0]
    assert made.facts["gain.search"].value == 0
    assert "default" in made.facts["gain.search"].why


def test_fewer_tokens_win_where_more_are_worse(tmp_path: Path) -> None:
    def overfits(rate: float, rank: int, tokens: int) -> float:
        return bowl(rate, rank, 30_000) + abs(math.log(tokens / 30_000))

    made = search(tmp_path, overfits, minutes=60)
    assert made.model is not None
    assert told(made.model).budget.tokens == FULL // 3


def test_a_trial_that_falls_apart_is_no_end_of_the_search_and_its_region_is_left(tmp_path: Path) -> None:
    def apart(rate: float, rank: int, tokens: int) -> float:
        return math.inf if rate > 1e-3 else bowl(rate, rank, tokens)

    made = search(tmp_path, apart, minutes=100)
    assert made.model is not None
    assert told(made.model).rate <= 1e-3
    gain = made.facts["gain.search"]  # the default fell apart as well
    assert gain.value is None
    assert "nan" in gain.why
    outcomes = {trial["outcome"] for trial in made.chosen["trials"]}
    assert "fell apart" in outcomes
    fallen = [trial for trial in made.chosen["trials"] if trial["outcome"] == "fell apart"]
    assert all("nan" in trial["why"] for trial in fallen)
    with pytest.raises(TrainingError, match="no run of the search"):
        search(tmp_path_of(tmp_path), lambda *_: math.inf, minutes=60)


def tmp_path_of(path: Path) -> Path:
    (path / "again").mkdir()
    return path / "again"


def test_a_rank_is_none_that_the_narrowest_layer_cannot_have() -> None:
    made = proposals.Proposals(Train(), widest=24, seed=1)
    made.tell_default(1.0)
    ranks = []
    for _ in range(30):
        method = made.ask().method
        made.tell(1.0)
        assert method is not None
        assert method.lora is not None
        ranks.append(method.lora.rank)
    assert max(ranks) == 24
    assert min(ranks) == 4
    whole = proposals.Proposals(Train(method={"full": {}}), widest=24, seed=1)  # type: ignore[arg-type]
    whole.tell_default(1.0)
    assert whole.ask().method == Train(method={"full": {}}).method  # type: ignore[arg-type]


def test_without_optuna_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(MissingPackage, match="optuna"):
        search(tmp_path, minutes=60)


def test_a_corpus_without_select_cannot_be_searched_on(tmp_path: Path) -> None:
    project = Place.at(write_desk(tmp_path / "desk")).project
    project = project.model_copy(
        update={"train": project.train.model_copy(update={"search": Search(minutes=60)})}
    )
    corpus = record("data.prepare", "c", tmp_path, facts={"data.pairs.select": Fact(0, "pairs")})
    with pytest.raises(SourceError, match="pairs of select"):
        next(tuned(project, {"corpus": (corpus,), "model": (corpus,)}))


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ({"search": {"minutes": 60}, "preference": {}}, "give search or preference"),
        ({"search": {"minutes": 60}, "method": None}, "search needs a method"),
    ],
)
def test_a_search_that_cannot_be_is_told_before_anything_runs(train: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Train.model_validate(train)


@given(st.floats(1, 1e5), st.floats(0, 100), st.floats(1, 1000), st.integers(1, 81))
def test_a_ladder_is_as_wide_as_its_seconds_pay_for(
    left: float, fixed: float, full: float, most: int
) -> None:
    cost = Cost(fixed, full)

    def ladder(count: int) -> float:
        on = going_on(count)
        shares = zip((count, on, going_on(on)), RUNGS, strict=True)
        return sum(number * (fixed + share * full) for number, share in shares)

    found = width(left, cost, most)
    assert found == 0 or ladder(found) <= left * (1 + 1e-9)
    assert found == most or ladder(found + 1) > left * (1 - 1e-9)


MODEL_STEPS = ("data.prepare", "data.index", "train.base", "train.tune", "train.search")


class Power(Watcher):
    """Fails once `runs` runs have ended, as power does."""

    def __init__(self, runs: int) -> None:
        self.runs = runs

    def ends(self, done: Done) -> None:
        self.runs -= done.node.step == TUNE and done.state == "ran"
        if not self.runs:
            raise KeyboardInterrupt


def to_the_model(place: Place, watcher: Watcher | None = None) -> list[Done]:
    """Make all up to the Model, and nothing after it."""
    walk = Walk(place.yard, threads=2, watcher=watcher, may_run=lambda node: node.step.name in MODEL_STEPS)
    with pytest.raises((Stale, KeyboardInterrupt)):
        walk.follow(line(place.project, place.folder, place.yard))
    return walk.done


def test_a_real_search_goes_on_after_a_kill_and_its_model_is_what_its_settings_alone_would_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_desk(tmp_path / "desk")
    asked = "  search: {minutes: 5, trials: 3}\n  precision: fp32"
    (folder / "modelyard.yaml").write_text(
        PROJECT.replace("  precision: fp32", asked).replace("tokens: 3000", "tokens: 900")
    )
    place = Place.at(folder)
    to_the_model(place, Power(2))
    done = to_the_model(place)
    tunings = [one for one in done if one.node.step == TUNE]
    # The default in full and in part, two others, one of them further on both rungs, and the Model.
    assert [one.state for one in tunings] == ["kept", "kept", "ran", "ran", "ran", "ran", "ran"]
    assert all(one.state in ("kept", "stale") for one in to_the_model(place))

    *trials, model = (one.record for one in tunings)
    assert model is not None
    assert standing(place, TUNE.name)[0] == model
    assert all(one is not None and "model.safetensors" not in one.files for one in trials)
    best = min((one for one in trials if one is not None), key=value)
    assert model.inputs["trial"] == (best.id,)
    assert model.facts == best.facts

    alone = Workspace(tmp_path / "alone", 2, lambda *_, **__: None)
    for part in (alone.out, alone.state):
        part.mkdir(parents=True)
    given = {role: (place.yard.one(model.inputs[role][0]),) for role in ("corpus", "model")}
    tune.run(TuneSettings(train=told(model)), Inputs(given), alone)
    assert (alone.out / "model.safetensors").read_bytes() == (model.folder / "model.safetensors").read_bytes()

    command = Command(folder, monkeypatch, capsys)
    shown = command("show", "search").out
    assert "gain.search" in shown
    assert "(the default)" in shown
    assert re.search(r"^\d +[\d.e-]+ +\d+ +[\d,]+ .* chosen", shown, re.MULTILINE)
    assert "默认设置" in command("show", "search", "--lang", "zh").out
    picture = re.search(r"picture: (.*)", command("show", "model").out)
    assert picture is not None
    assert Path(picture[1]).read_text().startswith("<svg")
    assert command("show", "model", "--json").json["result"]["picture"] == picture[1]
    assert best.id in command("why", "model").out


def test_a_run_of_a_search_that_falls_apart_is_a_record_that_says_so(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    corpus = write_corpus(tmp_path)
    (tmp_path / "pairs.select.jsonl").write_text((tmp_path / "pairs.train.jsonl").read_text())
    space = Workspace(tmp_path / "work", 1, lambda *_, **__: None)
    for part in (space.out, space.state):
        part.mkdir(parents=True)
    wild = TRAIN | {"learning_rate": 0.99, "clip": 1e30, "weight_decay": 1e38}
    output = tune.run(TuneSettings(train=Train.model_validate(wild), trial=True), inputs(corpus, base), space)
    fact = output.facts["train.loss_select"]
    assert fact.value is None
    assert "learning rate" in fact.why
    assert output.facts["train.loss_select_before"].value is not None
    assert {"train.precision", "train.fallen"} <= {choice.name for choice in output.choices}
    assert not (space.out / "model.safetensors").exists()


def test_a_calibration_asks_as_few_texts_as_a_run_and_a_search_more(tmp_path: Path) -> None:
    base, corpus = tiny_model(tmp_path / "base"), write_corpus(tmp_path)
    (tmp_path / "pairs.select.jsonl").write_text((tmp_path / "pairs.train.jsonl").read_text())

    def asked(trial: Literal["calibration"] | bool) -> int | None:
        space = Workspace(tmp_path / str(trial), 1, lambda *_, **__: None)
        for part in (space.out, space.state):
            part.mkdir(parents=True)
        settings = TuneSettings(train=Train.model_validate(TRAIN), trial=trial)
        return tune.run(settings, inputs(corpus, base), space).facts["train.loss_select"].n

    run, calibration, search = asked(False), asked("calibration"), asked(True)
    assert run is not None
    assert search is not None
    assert calibration == run < search


def test_a_budget_in_money_is_minutes_at_the_machines_price(tmp_path: Path) -> None:
    project = Place.at(write_desk(tmp_path / "desk")).project
    priced = project.model_copy(
        update={"train": project.train.model_copy(update={"budget": Budget(usd="0.05")})}
    )
    assert minutes_of(priced).minutes == 30  # at 0.10 an hour
    assert minutes_of(project) == project.train.budget
    searched = Search(minutes=60)
    for asked in (priced, project.model_copy(update={"train": Train(budget=Budget(minutes=21))})):
        train = asked.train.model_copy(update={"search": searched})
        with pytest.raises(ProjectError, match=r"60 minutes cannot pay for 3 runs of (30|21)"):
            minutes_of(asked.model_copy(update={"train": train}))
    unpriced = priced.model_copy(update={"machine": MachineBlock()})
    with pytest.raises(ProjectError, match="needs the price of this machine"):
        minutes_of(unpriced)
    with pytest.raises(ValidationError, match="one of the three"):
        Budget(usd="0.05", minutes=3)
