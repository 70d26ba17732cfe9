"""Tuning against Hugging Face's Trainer and TRL: speed, memory and loss, in turns on the same samples.

    python bench/train.py [--project FOLDER] [--only NAME ...]

Every contender is a process of its own (bench/contender.py), begins with the same weights and sees the same
samples in the same order. FOLDER is a project that has been through `modelyard up`. NAME is one of blocks,
chat, full, qwen, growth, checkpoint; what is left out keeps the figures that it has. 60 minutes in all.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import results
from load import folder
from results import Figure

from modelyard import machine
from modelyard.prompt import Prompter
from modelyard.records.yard import Yard
from modelyard.train import samples
from modelyard.train.work import flop_per_token

ROOT = Path(__file__).parent.parent
PYDESK = ROOT / "examples" / "pydesk"
# Environments that have the project's packages and, beside them, accelerate and trl; litgpt and lightning.
ENVIRONMENTS = {"trainer": "trl", "trl": "trl", "litgpt": "litgpt"}
NAMES = ("blocks", "chat", "full", "qwen", "growth", "checkpoint")
PAIRS = 3
BLOCK = 512
HELD = 8
ROOF_S = 4
FULL_GOAL = 1.5
Job = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Contest:
    """Ours against `peers` on `what`; `goal`: times the tokens a second of the first of them."""

    name: str
    what: str
    job: Job
    peers: tuple[str, ...]
    goal: float


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--project", type=Path, default=PYDESK)
    parser.add_argument("--only", nargs="*", choices=NAMES)
    told = parser.parse_args()
    yard = Yard(told.project.resolve() / ".yard")
    base, corpus = yard.find(step="train.base")[0].folder, yard.find(step="data.prepare")[0].folder
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as place:
        for contest in contests(base, corpus, Path(place)):
            if told.only is None or contest.name in told.only:
                figures += compare(contest, Path(place))
            else:
                figures += [unmeasured(figure) for figure in figures_of(contest, [NOTHING] * PAIRS, [0.0])]
        for name, job in growth(base, corpus, Path(place)):
            asked = told.only is None or "growth" in told.only
            found = contender("ours", job, Path(place)) if asked else NOTHING["ours"]
            figure = Figure(f"tokens a second as it grows: {name}", found["tps"], "tokens/s")
            figures.append(figure if asked else unmeasured(figure))
        for what, job in checkpoints(base, corpus):
            asked = told.only is None or "checkpoint" in told.only
            share = contender("ours", job, Path(place))["checkpoint_share"] if asked else 0.0
            figure = Figure(f"checkpoints of {what}: share of the run's time", share, "share", at_most=0.02)
            figures.append(figure if asked else unmeasured(figure))
    for figure in figures:
        print(json.dumps(figure.row() | {"unit": figure.unit}, ensure_ascii=False))
    results.write("train", figures)


NOTHING: dict[str, Job] = {
    who: {"name": "", "precision": "", "tps": 1.0, "peak_gib": 1.0, "held": 1.0}
    for who in ("ours", "trainer", "trl", "litgpt")
}


def unmeasured(figure: Figure) -> Figure:
    """The figure's name and goal alone."""
    return replace(figure, ours=None, peer=None, low=None, high=None, why="left out of this run")


def contests(base: Path, corpus: Path, place: Path) -> Iterator[Contest]:
    """What is measured against whom."""
    native = machine.native_bf16()
    made = blocks(base, corpus, steps=3, rows=4)
    peers = ("trainer", "trl", "litgpt")
    yield Contest("blocks", f"blocks of {BLOCK} tokens", made, peers, 3.0 if native else 1.6)
    pairs = chat(base, corpus, steps=4, rows=16)
    yield Contest("chat", "the example's pairs", pairs, ("trainer", "trl"), 6.0 if native else 2.2)
    whole = blocks(base, corpus, steps=3, rows=4) | {"full": True}
    yield Contest("full", f"all weights on blocks of {BLOCK} tokens", whole, ("trainer",), FULL_GOAL)
    other = qwen(base, place / "qwen")
    job = blocks(other, corpus, steps=3, rows=4)
    what = f"a Qwen2 of 360M, random weights, on blocks of {BLOCK} tokens"
    yield Contest("qwen", what, job, ("trainer",), 3.0 if native else 1.6)


def growth(base: Path, corpus: Path, place: Path) -> Iterator[tuple[str, Job]]:
    """One thing after the other made larger, from 135M, 512 tokens, 2,048 tokens a step, rank 16."""
    yield "135M, length 512, batch 2,048, rank 16", blocks(base, corpus, steps=3, rows=4)
    yield "size 360M (Qwen2)", blocks(qwen(base, place / "qwen"), corpus, steps=3, rows=4)
    for length in (128, 256, 1024):
        yield f"length {length:,}", blocks(base, corpus, steps=3, rows=2048 // length, block=length)
    for rows in (1, 2, 8):
        yield f"batch {rows * BLOCK:,}", blocks(base, corpus, steps=3 if rows > 2 else 6, rows=rows)
    for rank in (4, 64):
        yield f"rank {rank}", blocks(base, corpus, steps=3, rows=4) | {"rank": rank}


def checkpoints(base: Path, corpus: Path) -> Iterator[tuple[str, Job]]:
    """Runs whose checkpoints are timed."""
    job = blocks(base, corpus, steps=3, rows=4) | {"checkpoint": True}
    yield "adapters of 135M, rank 16", job
    yield "all weights of 135M", job | {"full": True}


def qwen(base: Path, to: Path) -> Path:
    """A Qwen2 of SmolLM2-360M's shape, random weights, with the base's tokenizer; made once."""
    if to.exists():
        return to
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = {"hidden_size": 960, "intermediate_size": 2560, "num_hidden_layers": 32}
    heads = {"num_attention_heads": 15, "num_key_value_heads": 5}
    config = AutoConfig.for_model("qwen2", **shape, **heads, vocab_size=49152, tie_word_embeddings=True)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(to)
    for path in base.iterdir():
        if not (to / path.name).exists() and path.suffix in (".json", ".jinja"):
            shutil.copyfile(path, to / path.name)
    return to


def first_adapter(job: Job, to: Path) -> None:
    """The adapter that everybody begins with."""
    import torch
    from transformers import AutoModelForCausalLM

    from modelyard.train.export import write_adapter
    from modelyard.train.lora import adapt

    model = AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.float32, local_files_only=True)
    write_adapter(adapt(model, rank=job["rank"], scale=2.0, seed=0), to, job["base"])


def blocks(base: Path, corpus: Path, *, steps: int, rows: int, block: int = BLOCK) -> Job:
    """Raw documents in blocks of so many tokens, everything to be learned, `rows` of them a step."""
    prompter = Prompter(base)
    text = "\n\n".join(json.loads(row)["text"] for row in _lines(corpus / "documents.jsonl", 2000))
    ids = prompter.encode(text)
    cut = [ids[at : at + block] for at in range(0, len(ids) - block, block)]
    made = [{"ids": list(one), "learn": [False] + [True] * (block - 1)} for one in cut]
    return _job(base, made, steps, rows, rows * block, block)


def chat(base: Path, corpus: Path, *, steps: int, rows: int) -> Job:
    """The example's own pairs, answers to be learned, `rows` of them a step."""
    prompter = Prompter(base)
    pairs = (("", samples.of_pair(prompter, row)) for row in samples.read(corpus / "pairs.train.jsonl"))
    found = samples.make(pairs, longest=BLOCK, vocabulary=1 << 30)
    kept = found.kept[: steps * rows + HELD]
    made = [{"ids": list(one.ids), "learn": list(one.learn)} for (one,) in kept]
    return _job(base, made, steps, rows, 1 << 20, BLOCK)


def _job(base: Path, made: list[Job], steps: int, rows: int, tokens: int, row_tokens: int) -> Job:
    need = steps * rows
    if len(made) < need + HELD:
        raise SystemExit(f"the corpus has {len(made)} samples, and {need + HELD} are needed")
    shown, held = made[:need], made[need : need + HELD]
    told = {"base": str(base), "rank": 16, "full": False, "row_tokens": row_tokens, "warm": 1}
    return told | {"samples": shown, "held": held, "steps": steps, "rows": rows, "tokens": tokens}


def compare(contest: Contest, place: Path) -> list[Figure]:
    """Pairs of runs in turns, the machine's roof before each."""
    found, shares = [], []
    who = ("ours", *contest.peers)
    for turn in range(PAIRS):
        top = roof()
        order = who if turn % 2 else who[::-1]
        found.append({one: contender(one, contest.job, place) for one in order})
        shares.append(operations(contest.job) * found[-1]["ours"]["tps"] / top)
        said = ", ".join(f"{one} {found[-1][one]['tps']:.0f}" for one in who)
        print(f"{contest.name} {turn}: {said} tokens/s", file=sys.stderr)
    return figures_of(contest, found, shares)


def figures_of(contest: Contest, found: Sequence[dict[str, Job]], shares: Sequence[float]) -> list[Figure]:
    """The contest's rows."""
    native = machine.native_bf16()
    ours = [turn["ours"] for turn in found]
    rows = []
    for peer in contest.peers:
        theirs = [turn[peer] for turn in found]
        ratios = [mine["tps"] / other["tps"] for mine, other in zip(ours, theirs, strict=True)]
        middle, low, high = results.of_turns(ratios)
        first = peer == contest.peers[0]
        why = f"{ours[0]['name']} step, {ours[0]['precision']}, {_mean(ours):.0f} tokens/s; {PEERS[peer]}, "
        rows.append(
            Figure(
                f"tuning {contest.what}: times the tokens a second of {PEERS[peer]}",
                middle,
                "times",
                low=low,
                high=high,
                above=contest.goal if first else None,
                why=f"{why}{theirs[0]['precision']}, {_mean(theirs):.0f} tokens/s; {PAIRS} pairs of runs",
            )
        )
        memory = [one["peak_gib"] for one in (ours[0], theirs[0])]
        at_most = (0.5 if native else 0.45) * memory[1] if first else None
        name = f"tuning {contest.what}: peak memory beside {PEERS[peer]}"
        rows.append(Figure(name, memory[0], "GiB", memory[1], at_most=at_most))
    rows.append(
        Figure(
            f"tuning {contest.what}: share of the measured roof of products",
            statistics.mean(shares),
            "share",
            above=0.6 if native else 0.75,
            why="all matrix products that a token needs, those of the adapters left out; what a shared "
            "beginning saves counts as done",
        )
    )
    theirs = [turn[contest.peers[0]] for turn in found]
    rows.append(
        Figure(
            f"tuning {contest.what}: loss on what was not trained on, apart from Trainer's",
            abs(ours[0]["held"] - theirs[0]["held"]),
            "nats/token",
            at_most=0.02,
            why=f"{ours[0]['held']:.4f} and {theirs[0]['held']:.4f} after {contest.job['steps']} steps",
        )
    )
    return rows


PEERS = {"trainer": "Trainer", "trl": "TRL's SFTTrainer", "litgpt": "LitGPT"}


def contender(who: str, job: Job, place: Path) -> Job:
    """What bench/contender.py says."""
    adapter, path = place / "adapter", place / "job.json"
    if not job["full"]:
        first_adapter(job, adapter)
    path.write_text(json.dumps(job | {"adapter": str(adapter)}), "utf-8")
    python = sys.executable
    if who != "ours":
        python = str(folder(f".env/{ENVIRONMENTS[who]}") / "bin" / "python")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [python, str(folder("contender.py")), who, str(path)]
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
    """Float operations a token of the job's samples."""
    config = json.loads((Path(job["base"]) / "config.json").read_text("utf-8"))
    items = [(samples.Sample(tuple(one["ids"]), tuple(one["learn"])),) for one in job["samples"]]
    found = flop_per_token(config, items, whole=job["full"])
    assert found is not None
    return found


def _mean(found: Sequence[Job]) -> float:
    return statistics.mean(one["tps"] for one in found)


def _lines(path: Path, most: int) -> list[str]:
    with path.open(encoding="utf-8") as lines:
        return [line for line, _ in zip(lines, range(most), strict=False)]


if __name__ == "__main__":
    main()
