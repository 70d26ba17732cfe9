"""The output head and its loss, only where there is something to learn.

The gradient of its input is known as soon as the loss is: one pass, no logits kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

ROWS = 256  # 256 rows of 49,152 logits are 50 MB; more rows are no faster
ROWS_CUDA = 1024
BLOCK = 1024  # words a product
# Rows of logits a multiple of 4096 bytes apart would share few lines of the cache: on a CPU with AVX2 the
# product reached 50 to 63 GFLOP/s of a core, and 75 to 80 with these more columns.
PAD = 80
TINY = 1e-30  # a chance below it has lost digits


class Head:
    """Logits = hidden W^T + b; weight [V, D], bias [V]. Each thread has a buffer of its own."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight = weight.detach()
        """May be narrower than float32: the products are then computed in its type."""
        self._bias = None if bias is None else bias.detach()
        self._local = threading.local()

    def losses_and_gradient(
        self,
        hidden: Tensor,
        labels: Tensor,
        into: Tensor | None = None,
        taught: Taught | None = None,
        scale: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Of each label its loss (nats) [L], and that loss's gradient for its row of `hidden` [L, D].

        The loss is -log p(label) with p = softmax(logits), and the gradient of the logits p, less 1 at the
        label; a teacher changes both. The gradient of W for all losses together, times `scale`, is added to
        `into` [V, D].
        """
        gradient = torch.empty_like(hidden)
        losses = []
        together = ROWS_CUDA if hidden.is_cuda else ROWS
        for start in range(0, len(labels), together):
            rows = slice(start, start + together)
            label, narrow = labels[rows, None], hidden[rows].to(self.weight.dtype)
            chances = self.chances(narrow)
            log_p = chances.gather(1, label).log()
            pull = None if taught is None else taught.pull(chances, rows)
            chances.scatter_add_(1, label, torch.full_like(log_p, -1))
            if taught is not None and pull is not None:
                chances.mul_(1 - taught.share).add_(pull[1], alpha=taught.share)
            dlogits = chances.to(self.weight.dtype)
            gradient[rows] = (dlogits @ self.weight).to(gradient.dtype)
            if into is not None:
                into.addmm_(dlogits.t().to(into.dtype), hidden[rows], alpha=scale)
            for at in (log_p[:, 0] < LOST).nonzero()[:, 0].tolist():  # from the logits again
                log_p[at] = torch.log_softmax(self._logits(narrow[at : at + 1]), -1)[0, label[at]]
            loss = -log_p[:, 0]
            if taught is not None and pull is not None:
                loss = (1 - taught.share) * loss + taught.share * pull[0]
            losses.append(loss)
        return torch.cat(losses), gradient

    def chances(self, hidden: Tensor) -> Tensor:
        """softmax of the logits, [L, D] -> [L, V] for L up to ROWS; holds until this thread's next call."""
        logits = self._logits(hidden)
        if logits.is_cuda:
            return torch.softmax(logits, -1)
        for row in logits:  # in place, a row at a time: the rows do not lie side by side
            torch.softmax(row, -1, out=row)
        return logits

    def _logits(self, hidden: Tensor) -> Tensor:
        """[L, D] -> [L, V] in this thread's buffer, in float32 at least; on a GPU as one product."""
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        if hidden.is_cuda:
            whole = (hidden @ self.weight.t()).to(dtype)
            return whole if self._bias is None else whole.add_(self._bias)
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


LOST = -69.0  # log p below it has lost digits: p is near the smallest that float32 holds


@dataclass(frozen=True, slots=True)
class Taught:
    """A teacher of the same words beside the labels: its hidden states [L, Dt] and its head.

    `share` of the loss is KL(teacher || student) at the temperature t, times t^2 (arXiv:1503.02531).
    """

    hidden: Tensor
    head: Head
    share: float
    temperature: float

    def pull(self, chances: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        """Of `rows` of labels t^2 KL [L], and its gradient for the student's logits, t (p - q), [L, V]."""
        t, head = self.temperature, self.head
        q = _cooled(head.chances(self.hidden[rows].to(head.weight.dtype)), t)
        if lacking := chances.shape[1] - q.shape[1]:  # rows that pad the student's head
            q = functional.pad(q, (0, lacking))
        p = _cooled(chances, t)
        apart = torch.xlogy(q, q).sub_(torch.xlogy(q, p.clamp(min=TINY)))
        return apart.sum(1).mul_(t * t), p.sub(q).mul_(t)


def _cooled(chances: Tensor, temperature: float) -> Tensor:
    """softmax(logits / t) from softmax(logits)."""
    if temperature == 1:
        return chances
    powered = chances.pow(1 / temperature)
    return powered.div_(powered.sum(1, keepdim=True))


class _HeadLoss(torch.autograd.Function):
    """`Head.losses_and_gradient` as one node of autograd's graph; `weight` is the head's where it learns."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor | None, of: Callable[..., tuple[Tensor, Tensor]]
    ) -> Tensor:
        dweight = None if weight is None else torch.zeros_like(weight)
        loss, gradient = of(hidden, dweight)
        ctx.save_for_backward(gradient, dweight)
        return loss

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor | None, ...]:
        gradient, dweight = ctx.saved_tensors
        return gradient * dloss, None if dweight is None else dweight * dloss, None


def head_loss(hidden: Tensor, weight: Tensor | None, of: Callable[..., tuple[Tensor, Tensor]]) -> Tensor:
    """The loss as a node of autograd's graph: `of(hidden, dweight)` gives it and its gradient for `hidden`.

    `of` adds the gradient of `weight` [V, D] to `dweight`; both are None where the head does not learn.
    """
    loss: Tensor = _HeadLoss.apply(hidden, weight, of)  # type: ignore[no-untyped-call]
    return loss
