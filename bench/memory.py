"""Memory of tuning as predicted before a run, against what runs took: bench/results/memory.json.

    python bench/memory.py

Each run is a process of its own with a model of random weights, two steps of the explicit step; 5 minutes.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import results
from load import folder
from results import Figure

ROOT = Path(__file__).parent.parent
SMALL = {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 12}
SMALL |= {"num_attention_heads": 6, "num_key_value_heads": 2}
MIDDLE = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30}
MIDDLE |= {"num_attention_heads": 9, "num_key_value_heads": 3}
LARGE = {"hidden_size": 960, "intermediate_size": 2560, "num_hidden_layers": 32}
LARGE |= {"num_attention_heads": 15, "num_key_value_heads": 5}
CASES: list[dict[str, Any]] = [
    {"shape": SMALL, "rank": 16, "tokens": 512, "workers": 2},
    {"shape": SMALL, "rank": 64, "tokens": 1024, "workers": 1},
    {"shape": MIDDLE, "rank": 16, "tokens": 512, "workers": 2},
    {"shape": MIDDLE, "rank": 16, "tokens": 128, "workers": 1},
    {"shape": MIDDLE, "rank": 16, "tokens": 1024, "workers": 2},
    {"shape": MIDDLE, "rank": 16, "tokens": 1024, "workers": 2, "recompute": True},
    {"shape": MIDDLE, "rank": None, "tokens": 256, "workers": 1},
    {"shape": MIDDLE, "rank": None, "tokens": 256, "workers": 2},
    {"shape": LARGE, "rank": 4, "tokens": 512, "workers": 2},
    {"shape": LARGE, "rank": 16, "tokens": 256, "workers": 1},
]


def main() -> None:
    """Run all cases, print, write."""
    errors = []
    for case in CASES:
        told = json.loads(child(case))
        errors.append(told["predicted"] / told["peak"] - 1)
        text = f"{case}: {told['predicted'] / 2**30:.2f} GiB predicted, {told['peak'] / 2**30:.2f} taken"
        print(f"{text}, {errors[-1]:+.1%}", file=sys.stderr, flush=True)
    sizes = [abs(error) for error in errors]
    why = f"{len(CASES)} runs of 21M to 360M parameters, adapters and all weights, 128 to 1,024 tokens"
    results.write(
        "memory",
        [
            Figure(
                "memory of tuning, predicted: median error",
                statistics.median(sizes),
                "share",
                at_most=0.05,
                why=why,
            ),
            Figure("memory of tuning, predicted: worst error", max(sizes), "share", at_most=0.12, why=why),
            Figure(
                "memory of tuning, predicted: mean of the errors",
                statistics.mean(errors),
                "share",
                why="above zero: more is predicted than taken",
            ),
        ],
    )


def child(case: dict[str, Any]) -> str:
    """What a case took, from a process of its own."""
    command = [sys.executable, str(folder("memory.py")), json.dumps(case)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return done.stdout.splitlines()[-1]


def measure(case: dict[str, Any]) -> None:
    """Two steps as train.tune makes them; says the peak of this process and the prediction."""
    from modelyard.train import allocator

    allocator.tune()
    import tempfile

    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from modelyard.estimate import training
    from modelyard.estimate.configuration import of_config
    from modelyard.train import loop, whole
    from modelyard.train.choose_step import choose_step
    from modelyard.train.load import load_model
    from modelyard.train.lora import adapt
    from modelyard.train.packing import Order
    from modelyard.train.samples import Sample
    from modelyard.train.settings import Train

    tokens, workers = case["tokens"], case["workers"]
    config = AutoConfig.for_model("llama", **case["shape"], vocab_size=49152, tie_word_embeddings=True)
    with tempfile.TemporaryDirectory() as place:
        pid = os.fork()  # the model is made elsewhere, so that making it is not in this process's peak
        if not pid:
            AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(place)
            os._exit(0)
        os.waitpid(pid, 0)
        torch.set_num_threads(1)
        model = load_model(Path(place))
        rank, recompute = case["rank"], bool(case.get("recompute"))
        trained: Any = adapt(model, rank=rank, scale=2.0, seed=0) if rank else whole.take(model)
        ids = torch.randint(10, 40_000, (tokens,)).tolist()
        item = (Sample(tuple(ids), (False, *[True] * (tokens - 1))),)
        short = Sample(item[0].ids[:64], item[0].learn[:64])
        stored = Path(place) / "model.safetensors"
        step, _ = choose_step(model, trained, short, tokens, workers, workers, stored)
        del model
        allocator.give_back()
        step.recompute = recompute  # type: ignore[union-attr]
        train = Train(learning_rate=1e-4, batch_tokens=tokens * workers, sequence_tokens=tokens)
        order = Order(0, tokens * workers, tokens, workers)
        run = loop.Run(step, trained.flat, [item], order, 2, 0, train, Path(), lambda *_, **__: None)
        adamw = loop.optimizer(trained.flat, train)
        for number in range(2):
            loop.update(run, adamw, number, loop.batch([item], ((0,),) * workers))
    shape = of_config(config.to_dict())
    assert shape is not None
    predicted = sum(
        training.memory_bytes(shape, training.Run(rank, tokens, tokens, workers, recompute)).values()
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"predicted": predicted, "peak": peak}))


if __name__ == "__main__":
    measure(json.loads(sys.argv[1])) if len(sys.argv) > 1 else main()
