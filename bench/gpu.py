"""Tuning on a GPU against Hugging Face's Trainer and TRL: bench/results/gpu.json.

    python bench/gpu.py --base FOLDER [--to FOLDER] [--only NAME ...]

FOLDER holds a base's config.json and tokenizer; its weights are random, its samples too, for speed does not
depend on either. `--to`: where results/ is written. NAME is one of blocks, short, full; what is left out
keeps the figures that it has. 10 minutes.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import results
from load import folder
from results import Figure

Job = dict[str, Any]
TURNS = 3
STEPS, BLOCK, HELD = 24, 512, 8
PEERS = {"trainer": "Trainer", "trl": "TRL's SFTTrainer"}


def main() -> None:
    """Measure, print, write."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--to", type=Path, default=results.FOLDER)
    parser.add_argument("--only", nargs="*", choices=("blocks", "short", "full"))
    told = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as place:
        base = random_base(told.base, Path(place) / "base")
        for name, what, job in jobs(base):
            asked = told.only is None or name in told.only
            figures += compare(what, job, Path(place)) if asked else left_out(what, job)
            (told.to / "results").mkdir(exist_ok=True)
            results.write("gpu", figures, folder=told.to, kind=torch.cuda.get_device_name())
    for figure in figures:
        print(json.dumps(figure.row()), flush=True)


def random_base(told: Path, to: Path) -> Path:
    """A base with the config and the tokenizer of `told`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(told, local_files_only=True)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(to)
    for path in told.iterdir():
        if not (to / path.name).exists() and path.suffix in (".json", ".jinja"):
            shutil.copyfile(path, to / path.name)
    return to


def jobs(base: Path) -> list[tuple[str, str, Job]]:
    """Name, words, job: blocks, all learned; short samples, a last third learned; all weights on blocks."""
    draw = random.Random(0)
    blocks = [one(draw, BLOCK, 1) for _ in range(STEPS * 8 + HELD)]
    short = [one(draw, draw.randint(57, 194), draw.randint(37, 130)) for _ in range(STEPS * 32 + HELD)]
    return [
        ("blocks", f"blocks of {BLOCK} tokens, 8 a step", job(base, blocks, 8, 8 * BLOCK)),
        ("short", "samples of 57 to 194 tokens, 32 a step", job(base, short, 32, 1 << 20)),
        (
            "full",
            f"all weights on blocks of {BLOCK} tokens, 8 a step",
            job(base, blocks, 8, 8 * BLOCK) | {"full": True},
        ),
    ]


def one(draw: random.Random, length: int, learned_from: int) -> Job:
    """A sample of random words."""
    first = min(learned_from, length - 1)
    return {
        "ids": [draw.randint(10, 40_000) for _ in range(length)],
        "learn": [at >= first for at in range(length)],
    }


def job(base: Path, made: list[Job], rows: int, tokens: int) -> Job:
    """What bench/contender.py is told."""
    told = {
        "base": str(base),
        "rank": 16,
        "full": False,
        "row_tokens": BLOCK,
        "steps": STEPS,
        "rows": rows,
        "warm": 2,
    }
    return told | {"samples": made[:-HELD], "held": made[-HELD:], "tokens": tokens}


def compare(what: str, told: Job, place: Path) -> list[Figure]:
    """Turns of all contenders, and the rows of it."""
    path, adapter = place / "job.json", place / "adapter"
    if not told["full"] and not adapter.exists():
        first_adapter(told, adapter)
    path.write_text(json.dumps(told | {"adapter": str(adapter)}), "utf-8")
    who = ("ours", *peers(told))
    found: list[dict[str, Job]] = []
    for turn in range(TURNS):
        found.append({name: contender(name, path) for name in (who if turn % 2 else who[::-1])})
        said = ", ".join(f"{name} {found[-1][name]['tps']:,.0f}" for name in who)
        print(f"{what} {turn}: {said} tokens/s", file=sys.stderr, flush=True)
    rows = []
    ours = [turn["ours"] for turn in found]
    for peer in who[1:]:
        speed, memory = names(what, peer)
        theirs = [turn[peer] for turn in found]
        ratios = [mine["tps"] / other["tps"] for mine, other in zip(ours, theirs, strict=True)]
        middle, low, high = results.of_turns(ratios)
        speeds = [statistics.mean(one["tps"] for one in runs) for runs in (ours, theirs)]
        why = (
            f"{ours[0]['precision']} {speeds[0]:,.0f} tokens/s; {theirs[0]['precision']} {speeds[1]:,.0f}; "
            f"{TURNS} turns; held-out loss {ours[0]['held']:.3f} and {theirs[0]['held']:.3f}"
        )
        rows.append(Figure(speed, middle, "times", low=low, high=high, why=why))
        rows.append(Figure(memory, ours[0]["peak_gib"], "GiB", theirs[0]["peak_gib"]))
    return rows


def peers(told: Job) -> list[str]:
    """Whom ours is measured against."""
    return [peer for peer in PEERS if not (told["full"] and peer == "trl")]


def names(what: str, peer: str) -> tuple[str, str]:
    """Of the rows for speed and memory."""
    begin = f"tuning {what}"
    return (
        f"{begin}: times the tokens a second of {PEERS[peer]}",
        f"{begin}: peak memory of the GPU beside {PEERS[peer]}",
    )


def left_out(what: str, told: Job) -> list[Figure]:
    """The rows without figures."""
    pairs = (zip(names(what, peer), ("times", "GiB"), strict=True) for peer in peers(told))
    return [Figure(name, None, unit, why="left out of this run") for pair in pairs for name, unit in pair]


def first_adapter(told: Job, to: Path) -> None:
    """The adapter that everybody begins with."""
    from modelyard.train.export import write_adapter
    from modelyard.train.load import load_model
    from modelyard.train.lora import adapt

    adapters = adapt(load_model(Path(told["base"])), rank=told["rank"], scale=2.0, seed=0)
    write_adapter(adapters, to, told["base"])


def contender(who: str, path: Path) -> Job:
    """What bench/contender.py says."""
    command = [sys.executable, str(folder("contender.py")), who, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{who} ended: {done.stderr[-2000:]}")
    found: Job = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
