"""RMSNorm (arXiv:1910.07467) without its weight, which the product after it holds."""

from __future__ import annotations

from torch import Tensor


def forward(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """n = x / rms(x) along the last dimension, and 1 / rms(x)."""
    inverse = x.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
    return x * inverse, inverse


def backward(dn: Tensor, n: Tensor, inverse: Tensor) -> Tensor:
    """dx = (dn - n mean(dn n)) / rms(x)."""
    slope = (dn * n).mean(-1, keepdim=True)
    return (dn - n * slope).mul_(inverse)
