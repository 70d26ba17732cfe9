"""Linear layers that read the same input, as one product, with their adapters inside it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..lora import LoraLinear

PAD = 8  # the adapters' columns, so that every row begins at an even place in memory


class Projection:
    """y = x W^T + bias + s (x A^T) B^T of one or more layers, stacked: x [T, in] -> y [T, out].

    One table [out + R, in + R] serves all products, R being the ranks together:

        [:out, :in]  W g, and s B A g where folded   [:out, in:]  s B, a block for each layer
        [out:, :in]  A g

    so x's image in the adapters, u [T, R], comes as more columns of y, and that of dy, v [T, R], as more
    columns of dx. g is the weight of the norm before it, if there is one. Folding costs an update of the
    table for each optimizer step and saves the skinny product with B for each row. In narrower types it would
    lose the adapter: a change below half of a weight's last bit rounds to nothing.
    """

    def __init__(self, layers: Sequence[LoraLinear], norm: Tensor | None, scale: float) -> None:
        self._layers, self._norm, self._scale = layers, norm, scale
        weights = [layer.weight.detach() for layer in layers]
        whole = torch.cat(weights)
        self.weight = whole if norm is None else whole * norm
        """W g [out, in], the one that is used."""
        self._ends = [0]
        for weight in weights:
            self._ends.append(self._ends[-1] + len(weight))
        self.out, self.inputs = self.weight.shape
        biases = [layer.bias for layer in layers if layer.bias is not None]
        self._bias = torch.cat([bias.detach() for bias in biases]) if biases else None
        self._rank = layers[0].a.shape[0]
        self._table = torch.empty(0)
        self._into: list[tuple[Sequence[Tensor], Sequence[Tensor]]] = []

    def learns(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> None:
        """The next worker adds its gradients to these: A [r, in] and B [out, r] of each layer."""
        self._into.append((a, b))

    def use(self, weight: Tensor) -> None:
        """Compute with `weight`, in its type; `fold` has to follow."""
        ranks = -(-len(self._layers) * self._rank // PAD) * PAD
        self.weight = weight
        self._table = weight.new_zeros(self.out + ranks, self.inputs + ranks)
        if not self._folded:
            self.weight = self._table[: self.out, : self.inputs]
            self.weight.copy_(weight)

    @property
    def _folded(self) -> bool:
        return self.weight.dtype.itemsize >= torch.float32.itemsize

    def fold(self) -> None:
        """Bring the table up to date with the adapters."""
        table, out, inputs = self._table, self.out, self.inputs
        for at, layer in enumerate(self._layers):
            rows = slice(self._ends[at], self._ends[at + 1])
            ranks = slice(at * self._rank, (at + 1) * self._rank)
            a = layer.a.detach() if self._norm is None else layer.a.detach() * self._norm
            down, up = table[out:, :inputs][ranks], table[rows, inputs:][:, ranks]
            down.copy_(a)
            up.copy_(layer.b.detach()).mul_(self._scale)
            if self._folded:
                torch.addmm(self.weight[rows], up, down, out=table[rows, :inputs])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[T, in] -> y [T, out] and u [T, R], which is a copy: y need not be kept for it."""
        both = x.to(self._table.dtype) @ self._table[:, : self.inputs].t()
        y, u = both[:, : self.out], both[:, self.out :]
        if not self._folded:
            y.addmm_(u, self._table[: self.out, self.inputs :].t())
        if self._bias is not None:
            y += self._bias
        return y, u.clone()

    def backward(self, dy: Tensor) -> tuple[Tensor, Tensor]:
        """[T, out] -> dx [T, in] and v [T, R]."""
        both = dy @ self._table[: self.out]
        dx, v = both[:, : self.inputs], both[:, self.inputs :]
        if not self._folded:
            dx.addmm_(v, self._table[self.out :, : self.inputs])
        return dx, v

    def learn(self, dy: Tensor, x: Tensor, u: Tensor, v: Tensor, worker: int) -> None:
        """Add the gradients of A and B: dA = v^T x g, dB = s dy^T u."""
        into_a, into_b = self._into[worker]
        da = v.t() @ x.to(v.dtype)
        if self._norm is not None:
            da = da * self._norm
        for at in range(len(self._layers)):
            rows = slice(self._ends[at], self._ends[at + 1])
            ranks = slice(at * self._rank, (at + 1) * self._rank)
            into_a[at].add_(da[ranks])
            # [r, out], the flat way round: twice as fast as dy^T u
            into_b[at].add_((u[:, ranks].t() @ dy[:, rows]).t(), alpha=self._scale)
