"""The output head and its cross entropy, only where there is something to learn.

The head is frozen, so the gradient of its input is known as soon as the loss is: one pass, no logits kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

ROWS = 256  # 256 rows of 49,152 logits are 50 MB; more rows are no faster


class _LabelLoss(torch.autograd.Function):
    """Sum of -log p(label) in nats: hidden [L, D], frozen weight [V, D], labels [L] -> []."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
        gradient = torch.empty_like(hidden)
        total = torch.zeros((), dtype=torch.float32)
        for start in range(0, len(labels), ROWS):
            rows = slice(start, start + ROWS)
            label = labels[rows, None]
            logits = (hidden[rows].to(weight.dtype) @ weight.t()).float()
            if bias is not None:
                logits += bias
            log_p = torch.log_softmax(logits, -1)
            total -= log_p.gather(1, label).sum()
            dlogits = log_p.exp_()
            dlogits.scatter_add_(1, label, torch.full_like(label, -1, dtype=dlogits.dtype))
            gradient[rows] = (dlogits.to(weight.dtype) @ weight).to(gradient.dtype)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * dloss, None, None, None


def label_loss(hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
    """Summed cross entropy (nats) of `labels` [L], predicted from `hidden` [L, D]."""
    loss: Tensor = _LabelLoss.apply(hidden, weight, bias, labels)  # type: ignore[no-untyped-call]
    return loss
