"""Which step trains this model: the explicit one where it knows the architecture and is seen to be right."""

from __future__ import annotations

from typing import Any

import torch

from ..records.shapes import Choice
from .explicit.step import ExplicitStep, partly_adapted, unknown
from .lora import Adapters
from .row import pack
from .samples import Sample
from .step import AutogradStep, check_packing
from .trained import Trained

# Of the gradient's norm; in float32 the two differ by about 1e-6.
APART_MAX = 1e-3
WHY = "loss and gradient of a sample are autograd's, and nothing is kept but what the backward pass needs"


def choose_step(
    model: Any, trained: Trained, sample: Sample, longest: int, workers: int, threads: int
) -> tuple[ExplicitStep | AutogradStep, Choice]:
    """The step for `model`, of which `trained` is to be trained, and why.

    Raises TrainingError when not even autograd's step gives the loss that the model itself gives `sample`.
    """
    # One worker, in this thread: what a thread of its own has taken from the allocator, it keeps.
    plain = AutogradStep(model, trained, workers=1, threads=1)
    check_packing(plain, model, sample)
    why = unknown(model, longest) or partly_adapted(trained, model)
    if not why:
        step = ExplicitStep(model, trained, workers=workers, threads=threads)
        apart = _apart(step, plain, trained, sample)
        if apart <= APART_MAX:
            if isinstance(trained, Adapters):
                for layer in trained.layers.values():
                    layer.forget()  # the explicit step has them as it needs them
            return step, Choice("train.step", step.name, WHY)
        step.close()
        why = f"the explicit gradient was {apart:.1%} off autograd's"
    found = AutogradStep(model, trained, workers=workers, threads=threads)
    return found, Choice("train.step", found.name, why)


def _apart(step: ExplicitStep, plain: AutogradStep, trained: Trained, sample: Sample) -> float:
    """How far the two gradients of `sample` are apart; leaves no trace. New adapters do something first."""
    before = trained.flat.clone() if isinstance(trained, Adapters) else None
    if before is not None:
        trained.flat.add_(torch.randn(before.shape, generator=torch.Generator().manual_seed(0)), alpha=0.01)
    batch = [pack([sample, sample])]
    for one in (step, plain):
        one.forward_backward(batch)
    if before is not None:
        trained.flat.copy_(before)
    return float((step.gradient - plain.gradient).norm() / plain.gradient.norm())
