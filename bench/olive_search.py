"""Olive's automatic search on the same model, questions and machine, against what ours released.

Needs an environment with olive-ai 0.13, onnxruntime-genai 0.12 (Olive does not find the parts of later ones)
and torch, whose `olive` the variable OLIVE names.
Olive chooses among what its builder makes for a CPU by the answers (exact match) and the seconds that our
script measures for it, in as many seconds as our search took.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from results import Figure

from modelyard import engines, machine
from modelyard.prompt import Prompter
from modelyard.records.shapes import Record
from modelyard.records.yard import Yard
from modelyard.release import Verdict
from modelyard.verify import quality, speed
from modelyard.verify.items import choose, items, read_jsonl
from modelyard.verify.measure import SPARE_TOKENS, corpus_tokens
from modelyard.verify.settings import Mix

EVALUATION = 100  # questions by which Olive judges a model
SILENCE_S = 60.0
CALLERS = max(quality.CALLERS, *speed.CALLERS)
TIME = "seconds of the search and its conversions, ours to Olive's"
COST = "cost of an answer, Olive's best to the release's"
RIGHT = "right answers, the release's less those of Olive's best"
FIGURES = ((TIME, "ratio"), (COST, "ratio"), (RIGHT, "share"))
SEARCHED = ("int4_block_size", "int4_is_symmetric", "int4_algo_config")
FOUR_BITS = {"precision": "int4", "int4_accuracy_level": 4} | dict.fromkeys(SEARCHED, "SEARCHABLE_VALUES")
BUILDERS = [
    {"type": "ModelBuilder"} | told for told in (FOUR_BITS, {"precision": "int8"}, {"precision": "fp32"})
]


def compare(
    olive: Path, place: Path, yard: Yard, ours: Verdict, *, seconds: float, max_loss: float
) -> list[Figure]:
    """Olive's best in `seconds` against `ours`, both asked and raced here; it may lose `max_loss` to ours."""
    record = yard.one(ours.id)
    candidate = yard.one(record.inputs["candidate"][0])
    corpus = yard.one(record.inputs["corpus"][0])
    model = yard.one(candidate.inputs["model"][0])
    pool = items(read_jsonl(corpus.folder / "pairs.select.jsonl"))
    prompter = Prompter(candidate.folder)
    rows = read_jsonl(record.folder / "answers.jsonl")
    least = statistics.mean(row["right"] for row in rows) - max_loss
    asked = quality.plan(prompter, choose(pool, EVALUATION, seed=0), None, 1)
    rights = {item.id: item.answer for item in asked.items}
    told = {
        "prompts": [[list(asked.own[id]), rights[id]] for id in asked.own],
        "tokenizer": str(candidate.folder / "tokenizer.json"),
        "end": prompter.end,
        "cap": ours.max_answer_tokens,
    }
    (place / "asked.json").write_text(json.dumps(told))
    (place / "olive.json").write_text(json.dumps(_config(model.folder, place, least, seconds), indent=1))
    began = time.monotonic()
    _run(olive, place)
    took = time.monotonic() - began
    theirs, tried = _best(place / "out")
    return [
        Figure(
            TIME,
            seconds / took,
            "ratio",
            at_most=1.05,  # Olive ends the point that it has begun
            why=f"{seconds:.0f} s and {took:.0f} s; Olive tried {tried} points of its space",
        ),
        *_raced(candidate, theirs, corpus, ours, Mix(**record.json("verdict.json")["mix"])),
        _asked(prompter, theirs, ours, rows, pool),
    ]


def _config(model: Path, place: Path, least: float, seconds: float) -> dict[str, Any]:
    task = {"task": "multiclass", "num_classes": 2}  # Olive wants it said; our script scores
    goal = {"type": "threshold", "value": least}
    time = {"name": "avg", "priority": 1, "higher_is_better": False}
    right = {"name": "accuracy_score", "priority": 2, "higher_is_better": True, "goal": goal}
    evaluator = {
        "type": "answers",
        "user_script": str(Path(__file__).with_name("olive_metric.py")),
        "metrics": [
            {"name": "time", "type": "latency", "sub_types": [time]},
            {"name": "right", "type": "accuracy", "sub_types": [right | {"metric_config": task}]},
        ],
    }
    cpu = {"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}
    return {
        "input_model": {"type": "HfModel", "model_path": str(model)},
        "systems": {"here": {"type": "LocalSystem", "accelerators": [cpu]}},
        "evaluators": {"answers": evaluator},
        "passes": {"build": BUILDERS},
        "search_strategy": {
            "execution_order": "joint",
            "sampler": "tpe",
            "sampler_config": {"seed": 0},
            "max_time": int(seconds),
        },
        "evaluator": "answers",
        "evaluate_input_model": False,
        "host": "here",
        "target": "here",
        "cache_dir": str(place / "cache"),
        "output_dir": str(place / "out"),
    }


def _run(olive: Path, place: Path) -> None:
    told = {
        "ASKED": str(place / "asked.json"),
        "PYTHONPATH": str(Path(__file__).parent.parent / "src"),
        "HF_HUB_OFFLINE": "1",
        "HOME": str(place),
    }
    command = [str(olive), "run", "--config", str(place / "olive.json"), "--disable_telemetry"]
    done = subprocess.run(command, env={**os.environ, **told}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"olive failed:\n{done.stderr[-2000:]}")


def _best(out: Path) -> tuple[Path, int]:
    """The folder of Olive's best model, and how many points it tried."""
    file = next(iter(sorted(out.rglob("model.onnx"))), None)
    if file is None:
        raise SystemExit("olive found no model that answers as well as its goal asks")
    return file.parent, len(json.loads((out / "footprint.json").read_text("utf-8"))) - 1


def _raced(candidate: Record, theirs: Path, corpus: Record, ours: Verdict, mix: Mix) -> list[Figure]:
    text = corpus_tokens(Prompter(candidate.folder), corpus, seed=0)
    room = mix.input_tokens + mix.output_tokens + SPARE_TOKENS
    runners = []
    try:
        for name, path in [(ours.engine, engines.model_path(candidate.folder)), ("onnx", theirs)]:
            engine = engines.start(
                name, path, threads=ours.threads, callers=CALLERS, context_tokens=room, limit_s=SILENCE_S
            )
            runners.append(speed.Runner(engine))
        speed.race(runners, text, mix, silence_s=SILENCE_S, seed=0, report=lambda *a, **k: None)
    finally:
        for runner in runners:
            if runner.engine:
                runner.engine.close()
    mine, other = (speed.seconds(runner.loads[mix.callers], mix) for runner in runners)
    numbers = [n for fact in (mine, other) for n in (fact.value, fact.low, fact.high) if n is not None]
    least, low, high, dear, dear_low, dear_high = numbers
    return [
        Figure(
            COST,
            dear / least,
            "ratio",
            low=dear_low / high,
            high=dear_high / low,
            above=1.0,
            why=f"its file on onnx against {ours.label}, {mix.callers} callers, "
            f"{dear:.0f} and {least:.0f} s for a thousand answers on {machine.cores()} cores",
        )
    ]


def _asked(
    prompter: Prompter, theirs: Path, ours: Verdict, rows: list[dict[str, Any]], pool: list[Any]
) -> Figure:
    """The difference in right answers on the questions of our full verdict."""
    by_id: dict[str, Mapping[str, Any]] = {row["id"]: row for row in rows}
    plan = quality.plan(prompter, [item for item in pool if item.id in by_id], None, 1)
    longest = max(map(len, plan.prompts)) + ours.max_answer_tokens + SPARE_TOKENS
    engine = engines.start(
        "onnx",
        theirs,
        threads=ours.threads,
        callers=quality.CALLERS,
        context_tokens=longest,
        limit_s=SILENCE_S,
    )
    try:
        answers = quality.ask(
            engine,
            prompter,
            plan,
            max_tokens=ours.max_answer_tokens,
            score="exact_match",
            silence_s=SILENCE_S,
        )
    finally:
        engine.close()
    fact, _ = quality.paired(rows, [asdict(one) for one in answers.own], seed=0)
    return Figure(
        RIGHT,
        fact.value,
        "share",
        low=fact.low,
        high=fact.high,
        why=fact.why,
    )
