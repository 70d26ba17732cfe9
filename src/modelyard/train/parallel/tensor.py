"""Each product is cut: heads and inner width over processes with the same rows (arXiv:1909.08053)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.distributed.tensor.parallel.style import ParallelStyle

from ..head import Head
from ..row import Row
from ..teacher import hidden_states
from ..trained import Trained
from .mesh_step import MeshStep, local
from .place import Place
from .plain import Adapted, make_plain, trained_parameters

COLUMNS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj")
ROWS = ("self_attn.o_proj", "mlp.down_proj")
# Their weights are whole on every process, and each process's gradient is of its own heads only.
OF_HEADS = ("q_norm.weight", "k_norm.weight")


class TensorStep(MeshStep):
    """The decoder's layers are cut by DTensor's own plans; embedding, norms and head are whole everywhere."""

    def __init__(self, model: Any, trained: Trained, place: Place) -> None:
        make_plain(model, trained)
        self._decoder, self._output = model.get_decoder(), model.get_output_embeddings()
        plan: dict[str, ParallelStyle] = {}
        for name, module in self._decoder.named_modules():
            adapted = isinstance(module, Adapted)
            if name.endswith(COLUMNS):  # an adapter's B is cut with its layer, A is whole
                plan |= {
                    f"{name}{part}": ColwiseParallel() for part in ((".base", ".up") if adapted else ("",))
                }
            elif name.endswith(ROWS):  # A is cut, B is whole
                plan |= {
                    f"{name}{part}": RowwiseParallel() for part in ((".base", ".down") if adapted else ("",))
                }
        parallelize_module(self._decoder, place.model, plan)
        self._learns = self._output.weight.requires_grad
        self._head = Head(self._output.weight, getattr(self._output, "bias", None))
        super().__init__(trained_parameters(model, trained), place)

    def backward(self, rows: Sequence[Row], rounds: int) -> float:
        """See MeshStep."""
        total = 0.0
        for row in rows:
            loss = self.loss_of(
                self._head, self._hidden(row), self._output.weight if self._learns else None, row
            )
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        return total

    def together(self) -> None:
        """Add up the copies', and what the processes of one copy have each of its own heads."""
        for name, part in self.state(self.gradient).items():
            if name.endswith(OF_HEADS):
                self.place.add_parts(local(part))
        super().together()

    def losses(self, rows: Sequence[Row]) -> list[Tensor]:
        """Of each row the loss (nats) of each of its labels; all processes ask at once."""
        self.put(self.flat)
        with torch.no_grad():
            self._head.weight = self._output.weight.detach()
            return [self._head.losses_and_gradient(self._hidden(row), row.labels)[0] for row in rows]

    def _hidden(self, row: Row) -> Tensor:
        with self.narrowly():
            return hidden_states(self._decoder, row).to(self.flat.dtype)
