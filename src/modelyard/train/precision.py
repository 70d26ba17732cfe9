"""float32 or bfloat16 for the products with the frozen weights: by a short trial of the model itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal

import torch

from .. import machine
from ..records.shapes import Choice
from .row import Row
from .step import Step, hold

Name = Literal["fp32", "bf16", "fp16"]
TYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# In float16 a gradient below 6e-8 is zero and one above 65504 infinite; torch's GradScaler begins here, too.
SCALE_FP16 = 65536.0
ROUNDS = 2
# bfloat16 keeps 8 bits: the losses of a batch differed by under 0.5% on SmolLM2; more would not train right.
LOSS_SHARE_MAX = 0.02


def set_precision(step: Step, name: str) -> None:
    """Have `step` compute in the precision of this name."""
    hold(step, TYPES[name])
    step.scale = SCALE_FP16 if name == "fp16" else 1.0


def choose(
    asked: Literal["auto", "fp32", "bf16", "fp16"],
    step: Step,
    batch: Sequence[Row],
    agree: Callable[[float], float] = lambda told: told,
) -> Choice:
    """The precision to train in, set on `step`; timed on `batch` in alternating turns where it is open.

    `agree`: what the first of several processes measured.
    """
    if asked != "auto":
        set_precision(step, asked)
        return Choice("train.precision", asked, "the project asks for it")
    if not (machine.native_bf16() or step.gradient.is_cuda):
        return Choice(
            "train.precision", "fp32", "this processor has no bfloat16 units, so it would be slower"
        )
    seconds: dict[str, list[float]] = {"fp32": [], "bf16": []}
    losses: dict[str, float] = {}
    wide = step.weights()
    narrow = [weight.to(torch.bfloat16) for weight in wide]
    for turn in range(ROUNDS + 1):  # the first turn warms up
        for name, weights in (("fp32", wide), ("bf16", narrow)):
            step.use(weights)
            start = time.perf_counter()
            result = step.forward_backward(batch)
            if turn:
                seconds[name].append(time.perf_counter() - start)
            losses[name] = result.loss / result.count
    fp32, bf16 = agree(min(seconds["fp32"])), agree(min(seconds["bf16"]))
    apart = abs(losses["bf16"] - losses["fp32"]) / max(abs(losses["fp32"]), 1e-3)
    timed = f"a step takes {bf16:.2f} s in bfloat16 and {fp32:.2f} s in float32"
    if apart > LOSS_SHARE_MAX:
        name, why = "fp32", f"bfloat16 changes the loss by {apart:.1%}"
    elif bf16 >= fp32:
        name, why = "fp32", timed
    else:
        name, why = "bf16", f"{timed}; adapters, residuals, norms and loss stay in float32"
    step.use(narrow if name == "bf16" else wide)
    return Choice("train.precision", name, why)
