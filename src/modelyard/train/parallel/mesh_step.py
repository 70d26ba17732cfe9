"""A step of autograd whose trained values are spread over processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from ..head import Head, head_loss
from ..objective import Labels, Objective
from ..row import Row
from ..step import Result, row_loss
from ..teacher import Teacher
from .place import Place


class MeshStep(ABC):
    """What this process holds of the trained values is `flat`; the optimizer and the loop see only that.

    `parameters`: those that are trained, by the name that checkpoints know them by; DTensors where they are
    spread. Each step copies `flat` into them and their gradients out of them.
    """

    name = "autograd"
    objective: Objective = Labels()
    teacher: Teacher | None = None
    scale = 1.0

    def __init__(self, parameters: Mapping[str, nn.Parameter], place: Place) -> None:
        self.place = place
        self.parameters = dict(parameters)
        for parameter in self.parameters.values():
            if not isinstance(parameter, DTensor):  # maybe a view of the whole model, which is to be let go
                parameter.data = parameter.data.clone()
        held = [local(parameter).detach().reshape(-1) for parameter in self.parameters.values()]
        self.flat = torch.cat(held) if held else torch.zeros(0)
        self.gradient = torch.zeros_like(self.flat)
        self._type = self.flat.dtype

    @abstractmethod
    def backward(self, rows: Sequence[Row], rounds: int) -> float:
        """Leave gradients of the summed loss of `rows` in the parameters; the loss (nats).

        Every process has `rounds` rows to do at once with the others; one that has fewer does one in vain.
        """

    @abstractmethod
    def losses(self, rows: Sequence[Row]) -> list[Tensor]:
        """Of each row the loss (nats) of each of its labels."""

    def forward_backward(self, batch: Sequence[Row]) -> Result:
        """Overwrite `gradient` with this process's part of that of the batch's summed loss."""
        self.put(self.flat)
        loss = self.backward(self.place.rows(batch), self.place.rounds(batch))
        at = 0
        for parameter in self.parameters.values():
            size = local(parameter).numel()
            into = self.gradient[at : at + size]
            into.zero_() if parameter.grad is None else into.copy_(local(parameter.grad).reshape(-1))
            parameter.grad = None
            at += size
        self.together()
        if self.scale != 1:
            self.gradient.div_(self.scale)
        (loss,) = self.place.total([loss])
        return Result(loss, sum(map(self.objective.count, batch)))

    def together(self) -> None:
        """Add up what other copies of the model have made of the gradient."""
        self.place.add(self.gradient)

    def norm(self) -> float:
        """Of the whole gradient: the processes' own parts are added up, what all hold is counted once."""
        own, common = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for name, part in self.state(self.gradient).items():
            mine = self.own(name, part)
            if mine is not None:
                (own if mine else common).add_(local(part).double().square().sum())
        return float((self.place.add_parts(own) + common).sqrt())

    def own(self, name: str, part: Tensor) -> bool | None:
        """Whether this part is this process's own, or held by all of its copy; None: counted elsewhere."""
        return isinstance(part, DTensor) and any(one.is_shard() for one in part.placements)

    def put(self, flat: Tensor) -> None:
        """Set the parameters to the values in `flat`."""
        at = 0
        with torch.no_grad():
            for parameter in self.parameters.values():
                own = local(parameter)
                own.copy_(flat[at : at + own.numel()].view(own.shape))
                at += own.numel()

    def state(self, flat: Tensor) -> dict[str, Tensor]:
        """Views of a tensor laid out like `flat`, by name; spread ones as DTensors of the whole."""
        found: dict[str, Tensor] = {}
        at = 0
        for name, parameter in self.parameters.items():
            own = local(parameter)
            view = flat[at : at + own.numel()].view(own.shape)
            at += own.numel()
            found[name] = view
            if isinstance(parameter, DTensor):
                found[name] = DTensor.from_local(
                    view,
                    parameter.device_mesh,
                    parameter.placements,
                    run_check=False,
                    shape=parameter.shape,
                    stride=parameter.stride(),
                )
        return found

    def loss_of(self, head: Head, hidden: Tensor, weight: Tensor | None, row: Row) -> Tensor:
        """A row's loss as a node of autograd's graph; `weight` is the head's where it learns."""
        if weight is not None:
            head.weight = weight.detach()

        def of(hidden: Tensor, into: Tensor | None) -> tuple[Tensor, Tensor]:
            loss, gradient = row_loss(self, head, hidden, row, into)
            return torch.tensor(loss, dtype=hidden.dtype), gradient

        return head_loss(hidden, weight, of)

    def weights(self) -> list[Tensor]:
        """A stand-in that tells the type: the weights stay where they are, products are made by autocast."""
        return [self.flat[:0]]

    def use(self, weights: Sequence[Tensor]) -> None:
        """Compute the products in the type of `weights`."""
        self._type = weights[-1].dtype

    def narrowly(self) -> AbstractContextManager[object]:
        """A context in which products are made in the type that was asked for."""
        narrow = self._type != self.flat.dtype
        return torch.autocast("cpu", dtype=self._type) if narrow else nullcontext()

    def close(self) -> None:  # noqa: B027 (there is nothing to end)
        """Nothing to end."""


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
