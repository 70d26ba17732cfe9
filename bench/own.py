"""The plan's figures on this machine: own training runs predicted before they start, and answering speeds.

    python bench/own.py [--project examples/pydesk] [--only tune|serve]

tune: one run of at most a minute, then ten of other ranks, methods, shapes and data, each predicted from it
before it begins. serve: every file on every engine in three turns; each is predicted from the others.
Needs a project whose `modelyard up` has run; works on a copy of its yard.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Literal

import results
from asking import ROOT
from results import Figure
from safetensors.numpy import load_file, save_file

from modelyard import engines
from modelyard.cli.place import Place
from modelyard.cli.plan_calibrate import work
from modelyard.engines.protocol import Engine
from modelyard.flow import Walk
from modelyard.flow.node import Line, Node
from modelyard.flow.sources import fingerprint
from modelyard.optimize.settings import CONVERT
from modelyard.plan.own import predict
from modelyard.plan.speeds import Measured
from modelyard.plan.speeds import predict as speed_of
from modelyard.plan.standing import standing
from modelyard.prompt import Prompter
from modelyard.records.shapes import Record
from modelyard.records.yard import Yard
from modelyard.train.settings import BASE, TUNE, BaseSettings, Train, TuneSettings
from modelyard.verify import speed
from modelyard.verify.measure import SPARE_TOKENS, corpus_tokens
from modelyard.verify.settings import Mix

PYDESK = ROOT / "examples" / "pydesk"
CALIBRATED_TOKENS = 13_000  # about half a minute of the loop, as `plan --calibrate` takes
# Name, layers of the base that stay, what is told to train.
RUNS: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("adapters of rank 16", 30, {}),
    ("adapters of rank 4", 30, {"method": {"lora": {"rank": 4}}}),
    ("adapters of rank 64", 30, {"method": {"lora": {"rank": 64}}}),
    ("batches of 2048", 30, {"batch_tokens": 2048}),
    ("all weights", 30, {"method": {"full": {}}}),
    ("half of the layers", 15, {}),
    ("half of the layers, all weights", 15, {"method": {"full": {}}}),
    ("22 layers", 22, {}),
    ("documents as text", 30, {"mixture": {"build/docs": 1.0}}),
    ("three times the tokens", 30, {"tokens": 60_000}),
)
TOKENS = 20_000
TURNS = 3  # of about three seconds at each load


def main() -> None:
    """Run, predict, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, default=PYDESK)
    parser.add_argument("--only", choices=["tune", "serve"])
    told = parser.parse_args()
    figures: list[Figure] = []
    if told.only is None:
        figures.append(whole(told.project))
    with copied(told.project) as place:
        if told.only != "serve":
            figures += tuned(place)
        if told.only != "tune":
            figures += served(place)
    results.tell("own", figures, whole=told.only is None)


def whole(project: Path) -> Figure:
    """Seconds of `modelyard plan` in the project, a process of its own, the median of five."""
    took = []
    for _ in range(5):
        begun = time.perf_counter()
        command = [sys.executable, "-m", "modelyard", "plan", "--json", "--project", str(project)]
        subprocess.run(command, check=True, capture_output=True)
        took.append(time.perf_counter() - begun)
    return Figure(
        "a full plan",
        median(took),
        "s",
        at_most=2.0,
        why="nine futures, 2,000 paths each; median of 5; two thirds are imports",
    )


@contextmanager
def copied(project: Path) -> Iterator[Place]:
    """The project with a copy of its yard."""
    with tempfile.TemporaryDirectory(dir=project.parent) as folder:
        there = Path(folder) / "project"
        shutil.copytree(project, there, symlinks=True)
        yield Place.at(there)


def newest(yard: Yard, step: str) -> Record:
    """The newest record of a step, trials left out."""
    return next(one for one in yard.find(step=step) if not one.settings.get("trial"))


def tuned(place: Place) -> list[Figure]:
    """Every run predicted from the calibration, then made."""
    corpus, base = newest(place.yard, "data.prepare"), newest(place.yard, "train.base")
    told = place.project.train.model_dump(mode="json") | {"search": None}
    import transformers  # noqa: F401 (each of a user's runs loads it; here the first would pay for all)

    short = told | {"budget": {"tokens": CALIBRATED_TOKENS}}
    calibration = run(place, corpus, base, short, trial="calibration")
    print(f"calibrated in {calibration.seconds:.0f} s")
    made = next(one for one in standing(place.yard).tuned if one.record == calibration.id)
    done = work(place.yard, base, corpus, told, CALIBRATED_TOKENS)
    assert done is not None
    off = []
    for name, layers, changed in RUNS:
        settings = told | {k: v for k, v in changed.items() if k != "tokens"}
        tokens = int(changed.get("tokens", TOKENS))
        model = base if layers == 30 else shortened(place, base, layers)
        asked = work(place.yard, model, corpus, settings, tokens)
        assert asked is not None
        found = predict(made, done, asked)
        record = run(place, corpus, model, settings | {"budget": {"tokens": tokens}})
        off.append(found.seconds.value / record.seconds - 1)
        print(f"{name:32} {record.seconds:6.1f} s, {found.seconds.value:6.1f} predicted ({off[-1]:+.0%})")
    why = f"{len(RUNS)} runs of ranks, methods, shapes and data, by one of {calibration.seconds:.0f} s"
    return [
        Figure("own runs: median error of the time", median(map(abs, off)), "share", at_most=0.15, why=why),
        Figure("own runs: worst error of the time", max(map(abs, off)), "share"),
    ]


def run(
    place: Place,
    corpus: Record,
    base: Record,
    train: dict[str, Any],
    *,
    trial: Literal[False, "calibration"] = False,
) -> Record:
    """One run, anew."""

    def once() -> Line[Record]:
        settings = TuneSettings(train=Train.model_validate(train), trial=trial)
        (record,) = yield (Node(TUNE, settings, {"corpus": (corpus,), "model": (base,)}),)
        return record

    record = Walk(place.yard, threads=place.threads, again=TUNE.name).follow(once())
    assert record is not None
    return record


def shortened(place: Place, base: Record, layers: int) -> Record:
    """The base's first layers as a base of its own."""
    folder = place.folder / f"first{layers}"
    if not folder.exists():
        shutil.copytree(base.folder, folder)
        for path in folder.iterdir():
            path.chmod(0o644)
        tensors = load_file(folder / "model.safetensors")
        kept = {
            name: tensor
            for name, tensor in tensors.items()
            if ".layers." not in name or int(name.split(".layers.")[1].split(".")[0]) < layers
        }
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
        config = json.loads((folder / "config.json").read_text("utf-8")) | {"num_hidden_layers": layers}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "base.json").unlink(missing_ok=True)

    def once() -> Line[Record]:
        files = fingerprint(place.yard, folder.name, folder)
        (record,) = yield (Node(BASE, BaseSettings(base=folder.name), sources=(files,)),)
        return record

    record = Walk(place.yard, threads=place.threads).follow(once())
    assert record is not None
    return record


def served(place: Place) -> list[Figure]:
    """Three turns of every file on every engine; each predicted from the other files."""
    corpus = newest(place.yard, "data.prepare")
    mix = Mix(callers=8, input_tokens=125, output_tokens=32)
    with ExitStack() as stack:
        running = list(started(place, mix, stack))
        text = corpus_tokens(Prompter(running[0][0].folder), corpus, seed=0)
        took: dict[tuple[int, int], list[float]] = defaultdict(list)
        for turn in range(TURNS):
            for at, (_, _, engine) in enumerate(running):
                for callers in (1, 8):
                    load = speed.measure(engine, text, mix, callers, silence_s=120, seed=turn)
                    tps = speed.facts(load, mix.input_tokens)[f"speed.decode_tps.c{callers}"].value
                    assert tps is not None
                    took[at, callers].append(callers / tps)
    figures = []
    for callers in (1, 8):
        found = []
        for at, (candidate, name, _) in enumerate(running):
            format, _, type = str(candidate.settings["file"]).partition(" ")
            size = candidate.fact("candidate.size_mib").value or 0.0
            found.append(Measured(name, format, type, size, median(took[at, callers])))
        off = []
        for at, one in enumerate(found):
            others = [*found[:at], *found[at + 1 :]]
            predicted = speed_of(others, one.engine, one.format, one.size_mib, one.type).value
            off.append(predicted / one.step_s - 1)
            what = f"{callers} callers, {one.engine:9} {one.format:9} {one.type:6}"
            print(f"{what} {one.step_s * 1e3:6.2f} ms, {predicted * 1e3:6.2f} predicted ({off[-1]:+.0%})")
        why = f"{len(found)} files and engines, each by the others; {TURNS} turns"
        what = "one caller" if callers == 1 else f"{callers} callers"
        name = f"own answers: median error of tokens/s, {what}"
        figures.append(Figure(name, median(map(abs, off)), "share", at_most=0.15, why=why))
    return figures


def started(place: Place, mix: Mix, stack: ExitStack) -> Iterator[tuple[Record, str, Engine]]:
    """Every whole model's file on every engine that the project's search has measured it on."""
    done = set()
    for verdict in place.yard.find(step="verify.measure"):
        told, engine = verdict.json("verdict.json"), verdict.settings["engine"]
        recipe = told["recipe"]
        key = (recipe["format"], recipe["type"], engine)
        if key in done or recipe.get("chain"):
            continue
        done.add(key)
        candidate = next(one for one in place.yard.find(step=CONVERT.name) if one.digest == told["candidate"])
        running = engines.start(
            *(engine, engines.model_path(candidate.folder)),
            threads=place.threads,
            callers=8,
            context_tokens=mix.input_tokens + mix.output_tokens + SPARE_TOKENS,
            limit_s=120,
        )
        stack.callback(running.close)
        yield candidate, engine, running


if __name__ == "__main__":
    main()
