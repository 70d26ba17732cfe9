"""What a row's loss is: of each label alone, or of a preferred answer against a rejected one."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from .row import Row


class Objective(Protocol):
    """From the losses of a row's labels (nats) to the row's loss."""

    unit: str
    """What the mean loss of a step is over: nats/token or nats/pair."""

    def count(self, row: Row) -> int:
        """How many such things the row has."""

    def weigh(self, losses: Tensor, row: Row) -> tuple[float, Tensor]:
        """The row's loss (nats), and its derivative after each label's, [L] -> [L]."""


class Labels:
    """The sum of all labels' losses."""

    unit = "nats/token"

    def count(self, row: Row) -> int:
        """The labels."""
        return len(row.labels)

    def weigh(self, losses: Tensor, row: Row) -> tuple[float, Tensor]:
        """Each label counts once."""
        return float(losses.sum()), torch.ones_like(losses)


class Preference:
    """Direct preference optimisation (arXiv:2305.18290): -log sigmoid(beta m) of each pair of samples.

    Samples 2i and 2i+1 of a row are the preferred and the rejected answer to one question; m is how much
    the model raises log p of the first over log p of the second, measured from the reference's.
    """

    unit = "nats/pair"

    def __init__(self, beta: float) -> None:
        self.beta = beta

    def count(self, row: Row) -> int:
        """The pairs."""
        return len(row.references) // 2

    def weigh(self, losses: Tensor, row: Row) -> tuple[float, Tensor]:
        """The pairs' loss; labels of the preferred answer have a weight above zero, the others below."""
        raised = row.references - losses.new_zeros(len(row.references)).index_add_(0, row.of, losses)
        margin = self.beta * (raised[0::2] - raised[1::2])
        pull = self.beta * torch.sigmoid(-margin)
        weights = torch.stack([pull, -pull], 1).view(-1)
        return float(functional.softplus(-margin).sum()), weights[row.of]
