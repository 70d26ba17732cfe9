"""LoRA on all linear layers of a decoder (arXiv:2106.09685), as one autograd function a layer.

Own code rather than peft's layers, because this is most of the step: in bfloat16 the whole step ran at 223
tokens/s and with peft's casts and skinny float32 products at 163. The saved form is peft's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import TrainingError


class _Adapted(torch.autograd.Function):
    """y = x W^T + scale (x A^T) B^T with frozen W, computed in W's type; gradients of A and B in theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
        # x [T, in], weight [out, in], a [r, in], b [out, r] -> [T, out]
        narrow = x.to(weight.dtype)
        down, up = a.to(weight.dtype), (b * scale).to(weight.dtype)
        inner = narrow @ down.t()  # [T, r]
        ctx.save_for_backward(narrow, inner, weight, down, up)
        ctx.scale, ctx.types = scale, (x.dtype, a.dtype)
        return (narrow @ weight.t()).addmm_(inner, up.t())

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, inner, weight, down, up = ctx.saved_tensors
        dy = dy.to(weight.dtype)
        dinner = dy @ up  # [T, r]
        dx = None
        if ctx.needs_input_grad[0]:
            dx = (dy @ weight).addmm_(dinner, down).to(ctx.types[0])
        da = (dinner.t() @ x).to(ctx.types[1])
        db = (dy.t() @ inner).to(ctx.types[1]).mul_(ctx.scale)
        return dx, None, da, db, None


class LoraLinear(nn.Module):
    """A frozen linear layer with an adapter; the bias, if any, stays as it is."""

    def __init__(self, linear: nn.Linear, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach(), requires_grad=False)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach(), requires_grad=False)
        self.scale = scale
        self.a: Tensor = torch.empty(0)
        self.b: Tensor = torch.empty(0)

    def forget(self) -> None:
        """Let go of the frozen weight."""
        self.weight.data = self.weight.new_empty(0)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _Adapted.apply(x.flatten(0, -2), self.weight, self.a, self.b, self.scale)  # type: ignore[no-untyped-call]
        y = y.view(*x.shape[:-1], -1)
        return y if self.bias is None else y + self.bias.to(y.dtype)


@dataclass(frozen=True, slots=True)
class Adapters:
    """A model's adapters. A and B of every layer are views of `flat`, in the order of `layers`."""

    layers: dict[str, LoraLinear]  # by the layer's name in the whole model
    flat: Tensor
    rank: int
    scale: float

    def parameters(self) -> list[Tensor]:
        """A and B of each layer in the order in which `flat` holds them."""
        return [tensor for layer in self.layers.values() for tensor in (layer.a, layer.b)]

    def tensors(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Each layer's name, A [r, in] and B [out, r]."""
        for name, layer in self.layers.items():
            yield name, layer.a.detach(), layer.b.detach()

    def views(self, flat: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Where A [r, in] and B [out, r] of each layer lie in a tensor laid out like `flat`."""
        found, at = {}, 0
        for name, layer in self.layers.items():
            ends = (at + layer.a.numel(), at + layer.a.numel() + layer.b.numel())
            found[name] = (
                flat[at : ends[0]].view(layer.a.shape),
                flat[ends[0] : ends[1]].view(layer.b.shape),
            )
            at = ends[1]
        return found

    def named(self, flat: Tensor) -> dict[str, Tensor]:
        """The same by peft's names."""
        return {
            f"{name}.lora_{kind}": part
            for name, pair in self.views(flat).items()
            for kind, part in zip("AB", pair, strict=True)
        }

    @property
    def targets(self) -> list[str]:
        """Last parts of the layers' names, as peft's target_modules."""
        return sorted({name.rpartition(".")[2] for name in self.layers})


def adapt(
    model: Any, *, rank: int, scale: float, seed: int, targets: Sequence[str] | None = None
) -> Adapters:
    """Freeze `model` and put an adapter on each linear layer but the head, or on those that `targets` name.

    B is zero, so nothing changes yet. Raises TrainingError when the model has no such layer, or when the rank
    exceeds a layer's width.
    """
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    head = model.get_output_embeddings()
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    linear = {name: module for name, module in linear.items() if module is not head}
    if not linear:
        raise TrainingError(
            "the model has no linear layers to adapt", where="train.base", try_="another base"
        )
    if targets is not None:
        names = {name.rpartition(".")[2] for name in linear}
        unknown = sorted(set(targets) - names)
        if unknown:
            raise TrainingError(
                f"the model has no linear layers called {', '.join(unknown)}",
                where="train.method.lora.targets",
                try_=f"some of {', '.join(sorted(names))}",
            )
        linear = {name: module for name, module in linear.items() if name.rpartition(".")[2] in targets}
    narrowest = min(min(module.weight.shape) for module in linear.values())
    if rank > narrowest:
        raise TrainingError(
            f"rank {rank} is above the width of the narrowest layer, {narrowest}",
            where="train.method.lora.rank",
            try_=f"rank: {min(16, narrowest)}",
        )
    generator = torch.Generator().manual_seed(seed)
    size = sum(rank * sum(module.weight.shape) for module in linear.values())
    flat = torch.zeros(size, device=head.weight.device)
    layers = {}
    at = 0
    for name, module in linear.items():
        layer = LoraLinear(module, scale)
        out_features, in_features = module.weight.shape
        bound = 1 / math.sqrt(in_features)  # peft's start: kaiming uniform with a = sqrt(5)
        layer.a = flat[at : at + rank * in_features].view(rank, in_features)
        # Drawn on the CPU: the same wherever the run computes.
        layer.a.copy_(torch.empty(layer.a.shape).uniform_(-bound, bound, generator=generator))
        at += rank * in_features
        layer.b = flat[at : at + rank * out_features].view(out_features, rank)
        at += rank * out_features
        layer.a.requires_grad_()
        layer.b.requires_grad_()
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, layer)
        layers[name] = layer
    return Adapters(layers, flat, rank, scale)
