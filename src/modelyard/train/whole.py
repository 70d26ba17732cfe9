"""Full tuning: every value of the model is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import TrainingError


@dataclass(frozen=True, slots=True)
class Whole:
    """All parameters of a model as views of `flat`: the matrices first, then norms and biases.

    So the matrices that read the same input lie side by side and are one matrix without a copy.
    """

    flat: Tensor
    shapes: dict[str, tuple[int, ...]]
    tied: dict[str, str]
    """Other names of parameters, such as of a head that is the embedding, and the names in `shapes`."""
    _parameters: tuple[nn.Parameter, ...]

    def parameters(self) -> list[Tensor]:
        """The model's own parameters in the order in which `flat` holds them."""
        return list(self._parameters)

    def named(self, flat: Tensor) -> dict[str, Tensor]:
        """Where each parameter lies in a tensor laid out like `flat`."""
        found, at = {}, 0
        for name, shape in self.shapes.items():
            size = torch.Size(shape).numel()
            found[name] = flat[at : at + size].view(shape)
            at += size
        return found


def take(model: Any) -> Whole:
    """Move the parameters of `model` into one flat tensor; tied ones once.

    Raises TrainingError where the head has a bias, which the loss does not train.
    """
    if getattr(model.get_output_embeddings(), "bias", None) is not None:
        raise TrainingError(
            "the model's head has a bias, which full tuning does not know",
            where="train.method",
            try_="method: {lora: {rank: 16}}",
        )
    # Many models pad with the token that ends an answer, and torch would keep that token from learning.
    model.get_input_embeddings().padding_idx = None
    parameters: dict[str, nn.Parameter] = dict(model.named_parameters())
    names = sorted(parameters, key=lambda name: parameters[name].ndim < 2)  # in the model's order otherwise
    first = parameters[names[0]]
    flat = torch.empty(
        sum(parameters[name].numel() for name in names), dtype=first.dtype, device=first.device
    )
    shapes = {name: tuple(parameters[name].shape) for name in names}
    own = {id(parameter): name for name, parameter in parameters.items()}
    every = model.named_parameters(remove_duplicate=False)
    tied = {name: own[id(parameter)] for name, parameter in every if name not in parameters}
    whole = Whole(flat, shapes, tied, tuple(parameters[name] for name in names))
    for name, view in whole.named(flat).items():
        view.copy_(parameters[name].detach())
        parameters[name].data = view
        parameters[name].requires_grad_()
    return whole
