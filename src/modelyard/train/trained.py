"""What a method trains: some or all of a model's values, as views of one flat tensor."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Trained(Protocol):
    """The trained values of a model."""

    @property
    def flat(self) -> Tensor:
        """All of them, float32 [N]."""

    def parameters(self) -> list[Tensor]:
        """Views of `flat` in its order, as the model holds them."""

    def named(self, flat: Tensor) -> dict[str, Tensor]:
        """Where each lies in a tensor laid out like `flat`, by the name that checkpoints know it by."""
