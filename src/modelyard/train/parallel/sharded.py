"""Each process holds a share of every weight and has its own rows (FSDP2, arXiv:2304.11277)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Partial

from ..head import Head
from ..row import Row
from ..teacher import hidden_states
from ..trained import Trained
from .mesh_step import MeshStep
from .place import Place
from .plain import make_plain, trained_parameters


class ShardedStep(MeshStep):
    """Weights are gathered layer by layer when they are needed, and their gradients scattered."""

    def __init__(self, model: Any, trained: Trained, place: Place) -> None:
        make_plain(model, trained)
        self._decoder, output = model.get_decoder(), model.get_output_embeddings()
        self._learns = output.weight.requires_grad
        tied = output.weight is self._decoder.embed_tokens.weight
        # The head is read outside of the modules: whole where it is frozen, else gathered each time.
        frozen = output.weight.detach() if self._learns else output.weight.detach().clone()
        bias: Tensor | None = getattr(output, "bias", None)
        bias = None if bias is None else bias.detach().clone()
        mesh = place.mesh if place.data.size() > 1 else place.model  # copies of shards, or shards alone
        modules = [*self._decoder.layers, self._decoder, *([] if tied else [output])]
        for module in modules:
            fully_shard(module, mesh=mesh)
        for module in modules:
            assert isinstance(module, FSDPModule)
            module.set_gradient_divide_factor(1.0)  # sums, as everywhere here, and not means
            module.set_force_sum_reduction_for_comms(True)
        if tied:
            output.weight = self._decoder.embed_tokens.weight
        self._output = output.weight
        self._head = Head(frozen, bias)
        super().__init__(trained_parameters(model, trained), place)

    def together(self) -> None:
        """The copies' sums are made with the shards'."""

    def backward(self, rows: Sequence[Row], rounds: int) -> float:
        """See MeshStep."""
        total = 0.0
        for number in range(rounds):
            row = rows[min(number, len(rows) - 1)] if rows else self._spare
            loss = self._loss(row)
            counts = number < len(rows)
            (loss if counts else loss * 0).backward()  # type: ignore[no-untyped-call]
            total += loss.item() * counts
        return total

    def forward_backward(self, batch: Sequence[Row]) -> Any:
        """Overwrite `gradient` with this process's part of that of the batch's summed loss."""
        self._spare = batch[0]
        return super().forward_backward(batch)

    def losses(self, rows: Sequence[Row]) -> list[Tensor]:
        """Of each row the loss (nats) of each of its labels; all processes ask at once."""
        self.put(self.flat)
        found = []
        with torch.no_grad():
            for row in rows:
                hidden, weight = self._hidden(row), self._weight()
                if weight is not None:
                    self._head.weight = weight
                found.append(self._head.losses_and_gradient(hidden, row.labels)[0])
        return found

    def _loss(self, row: Row) -> Tensor:
        return self.loss_of(self._head, self._hidden(row), self._weight(), row)

    def _hidden(self, row: Row) -> Tensor:
        with self.narrowly():
            return hidden_states(self._decoder, row).to(self.flat.dtype)

    def _weight(self) -> Tensor | None:
        if not self._learns:
            return None
        assert isinstance(self._output, DTensor)
        whole: Tensor = self._output.full_tensor(grad_placements=[Partial()] * self._output.device_mesh.ndim)
        return whole
