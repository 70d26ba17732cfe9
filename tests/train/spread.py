"""Train in several processes, in many layouts, beside one process that trains alone; tell how far apart.

    python tests/train/spread.py WORLD FOLDER [BASE]

A process group is made once; every layout of WORLD processes runs in it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

# ruff: noqa: E402, I001
sys.path[:0] = [str(Path(__file__).parents[2] / "src"), str(Path(__file__).parents[2])]

import torch
from torch import Tensor
from torch import distributed as dist
from torch import multiprocessing
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.llama import modeling_llama
from transformers.models.qwen3 import modeling_qwen3

from modelyard.train import attention, loop, whole
from modelyard.train.load import load_model
from modelyard.train.lora import Adapters, adapt
from modelyard.train.packing import Order
from modelyard.train.parallel.place import take_place
from modelyard.train.parallel.spread import make_step
from modelyard.train.samples import Sample
from modelyard.train.settings import Parallel, Train
from modelyard.train.step import AutogradStep

STEPS, LONGEST = 20, 48
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 101,
    "tie_word_embeddings": True,
}
DATA, SHARD, TENSOR, PIPELINE = ({kind: 2} for kind in ("data", "shard", "tensor", "pipeline"))
CASES: dict[int, list[tuple[str, str, list[dict[str, int]]]]] = {
    2: [
        ("llama", "lora", [DATA, SHARD, TENSOR, PIPELINE]),
        ("llama", "full", [DATA, SHARD, TENSOR, PIPELINE]),
        ("llama untied", "full", [SHARD, PIPELINE]),
        ("qwen3", "full", [TENSOR]),
    ],
    4: [
        ("llama", "lora", [{"data": 4}, {"shard": 4}, {"pipeline": 4}, DATA | PIPELINE]),
        ("llama", "full", [{"tensor": 4}, DATA | SHARD]),
    ],
}
# SmolLM2-135M has nine heads and three key heads: only three processes can share them.
REAL: dict[int, list[dict[str, int]]] = {2: [DATA, SHARD, PIPELINE], 3: [{"tensor": 3}]}
MODELS: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama untied": {"tie_word_embeddings": False},
    "qwen3": {"head_dim": 8},
}


def norm(self: Any, hidden: Tensor) -> Tensor:
    """transformers' norm in the model's own type: it is float32 there even in float64."""
    inverse = torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
    return self.weight * (hidden * inverse)


modeling_llama.LlamaRMSNorm.forward = norm  # type: ignore[method-assign]
modeling_qwen3.Qwen3RMSNorm.forward = norm  # type: ignore[method-assign]


def build(name: str, method: str, layers: int) -> tuple[Any, Any]:
    """A model in float64 and what of it is trained: the same in every process."""
    torch.manual_seed(0)
    shape = SHAPE | MODELS[name] | {"num_hidden_layers": layers}
    config = AutoConfig.for_model(name.split()[0], **shape)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention.register()).double().eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    if method == "full":
        return model, whole.take(model)
    adapters = adapt(model, rank=3, scale=2.0, seed=1)
    flat = adapters.flat.double()
    for layer, (a, b) in adapters.views(flat).items():
        adapters.layers[layer].a, adapters.layers[layer].b = a.requires_grad_(), b.requires_grad_()
    flat += torch.randn(flat.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 0.1
    return model, Adapters(adapters.layers, flat, adapters.rank, adapters.scale)


def items() -> list[tuple[Sample]]:
    """Samples of uneven length, so that rows are, too, and steps have one to five of them."""
    random = torch.Generator().manual_seed(3)
    found = []
    for number in range(60):
        length = 10 + 83 * number % 38
        ids = torch.randint(3, 101, (length,), generator=random).tolist()
        found.append((Sample(tuple(ids), tuple(at > length // 2 for at in range(length))),))
    return found


def train(step: Any, flat: Tensor) -> dict[str, Any]:
    """Some steps of the loop, and what they were like."""
    told = Train(learning_rate=3e-3, batch_tokens=96, sequence_tokens=LONGEST)
    order = Order(0, 96, LONGEST, 1)
    run = loop.Run(step, flat, items(), order, STEPS, 0, told, Path(), lambda *_, **__: None)
    adamw = loop.optimizer(flat, told)
    losses, norms = [], []
    plan = loop.steps(run.lengths, order)
    for number in range(STEPS):
        losses.append(loop.update(run, adamw, number, loop.batch(run.items, next(plan))))
        norms.append(step.norm())
    held = torch.cat(step.losses(loop.batch(run.items, ((0,), (1,), (2,))))).tolist()
    return {"losses": losses, "norms": norms, "held": held}


def apart(ours: Any, theirs: Any) -> float:
    """The largest relative distance of numbers."""
    return max(
        abs(one - other) / max(abs(other), 1e-12)
        for key in theirs
        for one, other in zip(ours[key], theirs[key], strict=True)
    )


def first_step(model: Any, trained: Any, place: Any) -> dict[str, Any]:
    """Loss and norm of the gradient of a step of four rows, in float32."""
    step: Any
    if place is None or place.kind == "data":
        step = AutogradStep(model, trained, workers=1, threads=1)
        step.place = place
    else:
        step = make_step(model, trained, place, LONGEST)
    result = step.forward_backward(loop.batch(items(), ((0, 1), (2,), (3,), (4,))))
    return {"losses": [result.loss], "norms": [step.norm()]}


def real(base: Path, world: int) -> dict[str, float]:
    """A real model's first step in every layout, beside that of one process."""

    def load() -> tuple[Any, Any]:
        model = load_model(base)
        return model, adapt(model, rank=16, scale=2.0, seed=0)

    alone = first_step(*load(), None)
    return {
        str(layout): apart(first_step(*load(), take_place(Parallel.model_validate(layout))), alone)
        for layout in REAL[world]
    }


def process(rank: int, world: int, folder: str, base: str) -> None:
    """All layouts of this world, in this process."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet{world}", rank=rank, world_size=world)
    found = real(Path(base), world) if base else tiny(world)
    if rank == world - 1:
        Path(folder, f"found{world}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


def tiny(world: int) -> dict[str, float]:
    """All cases of this world."""
    found = {}
    for name, method, layouts in CASES[world]:
        model, trained = build(name, method, world)
        alone = train(AutogradStep(model, trained, workers=1, threads=1), trained.flat)
        for layout in layouts:
            place = take_place(Parallel.model_validate(layout))
            model, other = build(name, method, world)
            step: Any
            if place.kind == "data":
                step = AutogradStep(model, other, workers=1, threads=1)
                step.place = place
                flat = other.flat
            else:
                step = make_step(model, other, place, LONGEST)
                flat = step.flat
            found[f"{name} {method} {layout}"] = apart(train(step, flat), alone)
    return found


def main() -> None:
    world, folder, base = int(sys.argv[1]), sys.argv[2], (*sys.argv[3:], "")[0]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    multiprocessing.spawn(process, (world, folder, base), nprocs=world)
    print(Path(folder, f"found{world}.json").read_text())


if __name__ == "__main__":
    main()
