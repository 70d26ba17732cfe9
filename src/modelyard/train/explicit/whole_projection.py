"""Linear layers that read the same input, as one product whose weights are all trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class WholeProjection:
    """y = (x g) W^T + bias of one or more layers, stacked: x [T, in] -> y [T, out].

    W [out, in], the bias [out] and g [in], the weight of the norm before it, are views of what is trained:
    layers that read the same input lie there side by side. The steps are those of `Projection`, which has
    adapters; u is empty here, and v the gradient of x g.
    """

    def __init__(self, layers: Sequence[nn.Linear], norm: Tensor | None) -> None:
        self._norm = norm
        self._trained = joined([layer.weight.detach() for layer in layers])
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self._bias = joined(biases) if biases else None
        self.weight = self._trained
        """W, or the narrower copy that is computed with."""
        self._into: list[tuple[Tensor, Tensor | None, Tensor | None]] = []

    def learns(self, weights: Sequence[Tensor], biases: Sequence[Tensor], norm: Tensor | None) -> None:
        """The next worker adds its gradients to these."""
        self._into.append((joined(weights), joined(biases) if biases else None, norm))

    def use(self, weight: Tensor) -> None:
        """Compute in the type of `weight`; `fold` has to follow."""
        narrow = weight.dtype != self._trained.dtype
        self.weight = torch.empty_like(self._trained, dtype=weight.dtype) if narrow else self._trained

    def fold(self) -> None:
        """Bring the copy up to date with what is trained."""
        if self.weight is not self._trained:
            self.weight.copy_(self._trained)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[T, in] -> y [T, out]."""
        y = self._read(x) @ self.weight.t()
        return y if self._bias is None else y.add_(self._bias), x.new_empty(0)

    def backward(self, dy: Tensor) -> tuple[Tensor, Tensor]:
        """[T, out] -> dx [T, in] and v [T, in]."""
        v = dy @ self.weight
        return v if self._norm is None else v * self._norm, v

    def learn(self, dy: Tensor, x: Tensor, u: Tensor, v: Tensor, worker: int) -> None:
        """Add the gradients: dW = dy^T (x g), dbias = sum of dy, dg = sum of v x."""
        weight, bias, norm = self._into[worker]
        read = self._read(x)
        if read.dtype == weight.dtype:
            weight.addmm_(dy.t(), read)
        else:
            weight.add_(dy.t() @ read)
        if bias is not None:
            bias.add_(dy.sum(0))
        if norm is not None:
            norm.add_((v * x).sum(0))

    def _read(self, x: Tensor) -> Tensor:
        return (x if self._norm is None else x * self._norm).to(self.weight.dtype)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Tensors that lie one behind the other in memory, as one: [n, ...] each -> [sum of n, ...]."""
    first, at = parts[0], parts[0].data_ptr()
    for part in parts:
        if part.data_ptr() != at:
            raise ValueError("the parts do not lie side by side")
        at += part.numel() * part.element_size()
    return first.as_strided((sum(map(len, parts)), *first.shape[1:]), first.stride())
