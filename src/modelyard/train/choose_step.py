"""Which step trains this model: the explicit one where it knows the architecture and is seen to be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from ..records.shapes import Choice
from .explicit.step import ExplicitStep, partly_adapted, unknown
from .lora import Adapters
from .row import pack
from .samples import Sample
from .step import AutogradStep, Workers, check_packing
from .trained import Trained

# Of the gradient's norm; in float32 the two differ by about 1e-6.
APART_MAX = 1e-3
WHY = "loss and gradient of a sample are autograd's, and nothing is kept but what the backward pass needs"


def choose_step(
    model: Any,
    trained: Trained,
    sample: Sample,
    longest: int,
    workers: int,
    threads: int,
    stored: Path | None = None,
) -> tuple[ExplicitStep | AutogradStep, Choice]:
    """The step for `model`, of which `trained` is to be trained, and why.

    stored: the safetensors file of its weights, from which they can be read again; the explicit step then
    takes over the frozen ones as it copies them. Raises TrainingError when not even autograd's step gives
    the loss that the model itself gives `sample`.
    """
    # One worker, in this thread: what a thread of its own has taken from the allocator, it keeps.
    plain = AutogradStep(model, trained, workers=1, threads=1)
    check_packing(plain, model, sample)
    why = "it computes on a GPU" if trained.flat.is_cuda else ""
    why = why or unknown(model, longest) or partly_adapted(trained, model)
    if not why:
        theirs = _gradient(plain, trained, sample)
        del plain
        take = stored is not None
        step = ExplicitStep(model, trained, workers=workers, threads=threads, take=take)
        size = float(theirs.norm())
        apart = float(theirs.sub_(_gradient(step, trained, sample)).norm()) / size
        if apart <= APART_MAX:
            if isinstance(trained, Adapters):
                for layer in trained.layers.values():
                    layer.forget()  # the explicit step has them as it needs them
            return step, Choice("train.step", step.name, WHY)
        step.close()
        why = f"the explicit gradient was {apart:.1%} off autograd's"
        if stored is not None and isinstance(trained, Adapters):
            _read_again(trained, stored)
    found = AutogradStep(model, trained, workers=workers, threads=threads)
    return found, Choice("train.step", found.name, why)


def _gradient(step: Workers, trained: Trained, sample: Sample) -> Tensor:
    """The gradient of `sample`; leaves no trace. New adapters do something first."""
    before = trained.flat.clone() if isinstance(trained, Adapters) else None
    if before is not None:
        trained.flat.add_(torch.randn(before.shape, generator=torch.Generator().manual_seed(0)), alpha=0.01)
    step.forward_backward([pack([sample, sample])])
    if before is not None:
        trained.flat.copy_(before)
    return step.gradient


def _read_again(adapters: Adapters, stored: Path) -> None:
    """Give the adapted layers back the frozen weights that they let go of."""
    with safe_open(stored, framework="pt") as file:
        for name, layer in adapters.layers.items():
            layer.weight.data = file.get_tensor(f"{name}.weight").float()
