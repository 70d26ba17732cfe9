"""SwiGLU (arXiv:2002.05202): the gate's SiLU times the other half."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def forward(both: Tensor) -> Tensor:
    """[T, 2I], gate and up -> silu(gate) up, [T, I]."""
    gate, up = both.chunk(2, -1)
    return functional.silu(gate).mul_(up)


def backward(da: Tensor, both: Tensor) -> tuple[Tensor, Tensor]:
    """From the gradient of the product [T, I] that of both halves [T, 2I]; and the product itself again."""
    gate, up = both.chunk(2, -1)
    dboth = both.new_empty(both.shape)
    dgate, dup = dboth.chunk(2, -1)
    active = functional.silu(gate)
    torch.mul(active, da, out=dup)
    torch.ops.aten.silu_backward.grad_input(da * up, gate, grad_input=dgate)
    return dboth, active.mul_(up)
