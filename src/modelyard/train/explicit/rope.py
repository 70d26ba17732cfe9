"""Rotary positions (arXiv:2104.09864): each pair of a head's numbers is turned by an angle of its place."""

from __future__ import annotations

import torch
from torch import Tensor


class Angles:
    """cos and sin of each place of a row: [T, 1, S/2], for heads of S numbers."""

    def __init__(self, positions: Tensor, frequencies: Tensor, scale: float) -> None:
        """`positions` [T]; `frequencies` [S/2], radians a place; `scale` multiplies what is turned."""
        angles = positions.to(frequencies.dtype)[:, None, None] * frequencies
        self._cos, self._sin = angles.cos() * scale, angles.sin() * scale

    def turn(self, heads: Tensor) -> None:
        """Turn heads [T, H, S] in place: number i with number i + S/2."""
        _turn(heads, self._cos, self._sin)

    def turn_back(self, dheads: Tensor) -> None:
        """The gradient before the turn, in place: the same angle the other way."""
        _turn(dheads, self._cos, -self._sin)


Places = tuple[Angles, Angles]
"""Those of q, with the scale of the scores, and those of k."""


def _turn(heads: Tensor, cos: Tensor, sin: Tensor) -> None:
    first, second = heads.chunk(2, -1)
    turned = torch.addcmul(first * cos, second, sin, value=-1)
    second.copy_(torch.addcmul(second * cos, first, sin))
    first.copy_(turned)
