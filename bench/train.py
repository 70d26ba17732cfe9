"""Tuning against Hugging Face's Trainer with peft: speed, memory and loss, in turns on the same samples.

    python bench/train.py [--project FOLDER] [--only blocks|chat]

Every contender is a process of its own (bench/contender.py), begins with the same adapter and sees the same
samples in the same order. FOLDER is a project that has been through `modelyard up`; 40 minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import results
from load import folder
from results import Figure

from modelyard import machine
from modelyard.prompt import Prompter
from modelyard.records.yard import Yard
from modelyard.train import samples

ROOT = Path(__file__).parent.parent
PYDESK = ROOT / "examples" / "pydesk"
PYTHON = folder(".env/trl") / "bin" / "python"  # the project's packages, and accelerate and trl beside them
PAIRS = 3
RANK = 16
BLOCK = 512
HELD = 8
ROOF_S = 4
Job = dict[str, Any]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--project", type=Path, default=PYDESK)
    parser.add_argument("--only", choices=("blocks", "chat"))
    told = parser.parse_args()
    yard = Yard(told.project.resolve() / ".yard")
    base, corpus = yard.find(step="train.base")[0].folder, yard.find(step="data.prepare")[0].folder
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as place:
        adapter = Path(place) / "adapter"
        first_adapter(base, adapter)
        jobs = {"blocks": blocks(base, corpus), "chat": chat(base, corpus)}
        for name, job in jobs.items():
            if told.only in (None, name):
                job |= {"base": str(base), "adapter": str(adapter), "rank": RANK, "row_tokens": BLOCK}
                figures += compare(name, job, Path(place))
    for figure in figures:
        print(json.dumps(figure.row() | {"unit": figure.unit}, ensure_ascii=False))
    if told.only is None:
        results.write("train", figures)


def first_adapter(base: Path, to: Path) -> None:
    """The adapter that everybody begins with."""
    import torch
    from transformers import AutoModelForCausalLM

    from modelyard.train.export import write_adapter
    from modelyard.train.lora import adapt

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, local_files_only=True)
    write_adapter(adapt(model, rank=RANK, scale=2.0, seed=0), to, str(base))


def blocks(base: Path, corpus: Path) -> Job:
    """Raw documents in blocks of 512 tokens, everything to be learned: 4 blocks a step."""
    steps, rows = 6, 4
    prompter = Prompter(base)
    text = "\n\n".join(json.loads(row)["text"] for row in _lines(corpus / "documents.jsonl", 2000))
    ids = prompter.encode(text)
    cut = [ids[at : at + BLOCK] for at in range(0, len(ids) - BLOCK, BLOCK)]
    made = [{"ids": list(one), "learn": [False] + [True] * (BLOCK - 1)} for one in cut]
    return _job(made, steps, rows, rows * BLOCK)


def chat(base: Path, corpus: Path) -> Job:
    """The example's own pairs, answers to be learned: 8 samples a step."""
    steps, rows = 14, 8
    prompter = Prompter(base)
    pairs = (("", samples.of_pair(prompter, row)) for row in samples.read(corpus / "pairs.train.jsonl"))
    found = samples.make(pairs, longest=BLOCK, vocabulary=1 << 30)
    kept = found.kept[: steps * rows + HELD]
    made = [{"ids": list(one.ids), "learn": list(one.learn)} for (one,) in kept]
    return _job(made, steps, rows, 1 << 20)


def _job(made: list[Job], steps: int, rows: int, tokens: int) -> Job:
    need = steps * rows
    if len(made) < need + HELD:
        raise SystemExit(f"the corpus has {len(made)} samples, and {need + HELD} are needed")
    shown, held = made[:need], made[need : need + HELD]
    return {"samples": shown, "held": held, "steps": steps, "rows": rows, "tokens": tokens}


def compare(name: str, job: Job, place: Path) -> list[Figure]:
    """Pairs of runs in turns, the machine's roof before each."""
    path = place / f"{name}.json"
    path.write_text(json.dumps(job), "utf-8")
    ours, theirs, shares = [], [], []
    for turn in range(PAIRS):
        top = roof()
        for who, found in sorted((("ours", ours), ("trainer", theirs)), reverse=bool(turn % 2)):
            found.append(contender(who, path))
        shares.append(operations(job) * ours[-1]["tps"] / top)
        print(f"{name} {turn}: {ours[-1]['tps']:.0f} {theirs[-1]['tps']:.0f} tokens/s", file=sys.stderr)
    ratios = [mine["tps"] / other["tps"] for mine, other in zip(ours, theirs, strict=True)]
    middle, half = _interval(ratios)
    peers = f"transformers' Trainer and peft, {theirs[0]['precision']}"
    native = machine.native_bf16()
    goals = {"blocks": 3.0 if native else 1.6, "chat": 6.0 if native else 2.2}
    memory = [one["peak_gib"] for one in (ours[0], theirs[0])]
    apart = abs(ours[0]["held"] - theirs[0]["held"])
    what = {"blocks": f"blocks of {BLOCK} tokens", "chat": "the example's pairs"}[name]
    return [
        Figure(
            f"tuning on {what}: times the tokens a second of Trainer",
            middle,
            "times",
            low=middle - half,
            high=middle + half,
            above=goals[name],
            why=f"{ours[0]['name']} step, {ours[0]['precision']}, {_mean(ours):.0f} tokens/s; {peers}, "
            f"{_mean(theirs):.0f} tokens/s; {PAIRS} pairs of runs",
        ),
        Figure(
            f"tuning on {what}: share of the measured roof of products",
            statistics.mean(shares),
            "share",
            above=0.6 if native else 0.75,
            why="all matrix products counted, those of the adapters left out",
        ),
        Figure(
            f"tuning on {what}: peak memory",
            memory[0],
            "GiB",
            memory[1],
            at_most=(0.5 if native else 0.45) * memory[1],
        ),
        Figure(
            f"tuning on {what}: loss on what was not trained on, apart from Trainer's",
            apart,
            "nats/token",
            at_most=0.02,
            why=f"{ours[0]['held']:.4f} and {theirs[0]['held']:.4f} after {job['steps']} steps",
        ),
    ]


def contender(who: str, job: Path) -> Job:
    """What bench/contender.py says."""
    python = sys.executable if who == "ours" else str(PYTHON)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [python, str(folder("contender.py")), who, str(job)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{who} ended: {done.stderr[-2000:]}")
    told: Job = json.loads(done.stdout.splitlines()[-1])
    return told


def roof() -> float:
    """The float operations a second that products of the model's shape reach, all cores at once."""
    import torch

    dtype = torch.bfloat16 if machine.native_bf16() else torch.float32
    cores = len(os.sched_getaffinity(0))
    done = [0.0] * cores

    def work(at: int) -> None:
        torch.set_num_threads(1)
        a, b, out = (torch.randn(*shape).to(dtype) for shape in ((512, 576), (576, 3072), (512, 3072)))
        until = time.perf_counter() + ROOF_S
        while time.perf_counter() < until:
            torch.mm(a, b, out=out)
            done[at] += 2 * 512 * 576 * 3072

    threads = [threading.Thread(target=work, args=(at,)) for at in range(cores)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return sum(done) / ROOF_S


def operations(job: Job) -> float:
    """Float operations a token: forward and the gradient of the input, no gradient of frozen weights."""
    config = json.loads((Path(job["base"]) / "config.json").read_text("utf-8"))
    width, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    heads, keys = config["num_attention_heads"], config["num_key_value_heads"]
    size = config.get("head_dim") or width // heads
    weights = layers * (width * size * (2 * heads + 2 * keys) + 3 * width * inner)
    tokens = sum(len(one["ids"]) for one in job["samples"])
    labels = sum(sum(one["learn"]) for one in job["samples"])
    # Each token sees half of its sample: 2 products forward and 4 backward, of 2 operations.
    seen = sum(len(one["ids"]) ** 2 / 2 for one in job["samples"]) * layers * heads * size * 12
    return (4 * weights * tokens + 4 * width * config["vocab_size"] * labels + seen) / tokens


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half a 95% interval of three values (Student, 2 degrees of freedom)."""
    return statistics.mean(values), 4.303 * statistics.stdev(values) / PAIRS**0.5


def _mean(found: Sequence[Job]) -> float:
    return statistics.mean(one["tps"] for one in found)


def _lines(path: Path, most: int) -> list[str]:
    with path.open(encoding="utf-8") as lines:
        return [line for line, _ in zip(lines, range(most), strict=False)]


if __name__ == "__main__":
    main()
