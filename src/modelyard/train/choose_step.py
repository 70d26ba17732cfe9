"""Which step trains this model: the explicit one where it knows the architecture and is seen to be right."""

from __future__ import annotations

from typing import Any

import torch

from ..records.shapes import Choice
from .explicit.step import ExplicitStep, unknown
from .lora import Adapters
from .row import pack
from .samples import Sample
from .step import AutogradStep, Step, check_packing

# Of the gradient's norm; in float32 the two differ by about 1e-6.
APART_MAX = 1e-3
WHY = "loss and gradient of a sample are autograd's, and nothing is kept but what the backward pass needs"


def choose_step(
    model: Any, adapters: Adapters, sample: Sample, longest: int, workers: int, threads: int
) -> tuple[Step, Choice]:
    """The step for `model`, whose adapters are new, and why.

    Raises TrainingError when not even autograd's step gives the loss that the model itself gives `sample`.
    """
    # One worker, in this thread: what a thread of its own has taken from the allocator, it keeps.
    plain = AutogradStep(model, adapters, workers=1, threads=1)
    check_packing(plain, model, sample)
    why = unknown(model, longest)
    if not why:
        step = ExplicitStep(model, adapters, workers=workers, threads=threads)
        apart = _apart(step, plain, adapters, sample)
        if apart <= APART_MAX:
            for layer in adapters.layers.values():
                layer.forget()  # the explicit step has them as it needs them
            return step, Choice("train.step", step.name, WHY)
        step.close()
        why = f"the explicit gradient was {apart:.1%} off autograd's"
    found = AutogradStep(model, adapters, workers=workers, threads=threads)
    return found, Choice("train.step", found.name, why)


def _apart(step: ExplicitStep, plain: AutogradStep, adapters: Adapters, sample: Sample) -> float:
    """How far the two gradients of `sample` are apart, with adapters that do something; leaves no trace."""
    before = adapters.flat.clone()
    adapters.flat.add_(torch.randn(before.shape, generator=torch.Generator().manual_seed(0)), alpha=0.01)
    batch = [pack([sample, sample])]
    for one in (step, plain):
        one.forward_backward(batch)
    adapters.flat.copy_(before)
    return float((step.gradient - plain.gradient).norm() / plain.gradient.norm())
