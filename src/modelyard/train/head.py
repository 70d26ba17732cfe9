"""The output head and its cross entropy, only where there is something to learn.

The head is frozen, so the gradient of its input is known as soon as the loss is: one pass, no logits kept.
"""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor

ROWS = 256  # 256 rows of 49,152 logits are 50 MB; more rows are no faster
BLOCK = 1024  # words a product
# Rows of logits a multiple of 4096 bytes apart would share few lines of the cache: on a CPU with AVX2 the
# product reached 50 to 63 GFLOP/s of a core, and 75 to 80 with these more columns.
PAD = 80
TINY = 1e-30  # a chance below it has lost digits


class Head:
    """Logits = hidden W^T + b; frozen weight [V, D], bias [V]. Each thread has a buffer of its own."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight = weight.detach()
        """May be narrower than float32: the products are then computed in its type."""
        self._bias = None if bias is None else bias.detach()
        self._local = threading.local()

    def loss_and_gradient(self, hidden: Tensor, labels: Tensor) -> tuple[float, Tensor]:
        """The sum of -log p(label) in nats, and its gradient for `hidden`: [L, D], labels [L] -> [L, D].

        With p = softmax(logits) the gradient is (p, less 1 at the label) W.
        """
        gradient = torch.empty_like(hidden)
        total = 0.0
        for start in range(0, len(labels), ROWS):
            rows = slice(start, start + ROWS)
            label, narrow = labels[rows, None], hidden[rows].to(self.weight.dtype)
            chances = self._logits(narrow)
            for row in chances:  # in place, a row at a time: the rows do not lie side by side
                torch.softmax(row, -1, out=row)
            of_label = chances.gather(1, label)
            log_p = of_label.log()
            lost = (of_label[:, 0] < TINY).nonzero()[:, 0].tolist()
            chances.scatter_add_(1, label, torch.full_like(of_label, -1))
            gradient[rows] = (chances.to(self.weight.dtype) @ self.weight).to(gradient.dtype)
            for at in lost:  # from the logits again
                log_p[at] = torch.log_softmax(self._logits(narrow[at : at + 1]), -1)[0, label[at]]
            total -= float(log_p.sum())
        return total, gradient

    def _logits(self, hidden: Tensor) -> Tensor:
        """[L, D] -> [L, V] in this thread's buffer, in float32 at least."""
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        buffer: Tensor | None = getattr(self._local, "logits", None)
        if buffer is None or buffer.dtype != dtype:
            buffer = self._local.logits = torch.empty(ROWS, len(self.weight) + PAD, dtype=dtype)
        logits = buffer[: len(hidden), : len(self.weight)]
        for at in range(0, len(self.weight), BLOCK):
            words, into = self.weight[at : at + BLOCK].t(), logits[:, at : at + BLOCK]
            if words.dtype == dtype:
                torch.mm(hidden, words, out=into)
            else:
                into.copy_(hidden @ words)
        return logits if self._bias is None else logits.add_(self._bias)


class _LabelLoss(torch.autograd.Function):
    """`Head.loss_and_gradient` as one node of autograd's graph."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Head, labels: Tensor) -> Tensor:
        total, gradient = head.loss_and_gradient(hidden, labels)
        ctx.save_for_backward(gradient)
        return torch.tensor(total)

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * dloss, None, None


def label_loss(hidden: Tensor, head: Head, labels: Tensor) -> Tensor:
    """Summed cross entropy (nats) of `labels` [L], predicted from `hidden` [L, D]."""
    loss: Tensor = _LabelLoss.apply(hidden, head, labels)  # type: ignore[no-untyped-call]
    return loss
