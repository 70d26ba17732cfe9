"""Each process holds some of the layers; rows flow through them one behind the other (arXiv:2104.04473)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.pipelining import PipelineStage, Schedule1F1B

from ..head import Head
from ..row import Row
from ..trained import Trained
from .mesh_step import MeshStep
from .place import Place
from .plain import make_plain, trained_parameters

CPU = torch.device("cpu")


class Stage(nn.Module):
    """A model's own decoder with only some of its layers, fed row after row in their order.

    Between stages travels the stream of each row, [1, longest, D]: the places behind a row's end are zero.
    """

    def __init__(
        self,
        decoder: Any,
        longest: int,
        narrowly: Callable[[], AbstractContextManager[object]],
        *,
        first: bool,
        last: bool,
        layers: range,
    ) -> None:
        super().__init__()
        decoder.layers = nn.ModuleList(decoder.layers[at] for at in layers)
        if not last:
            decoder.norm = nn.Identity()
        self.decoder, self._first, self._longest = decoder, first, longest
        self._narrowly = narrowly
        self.rows: Sequence[Row] = ()
        self.at = 0

    def forward(self, x: Tensor) -> Tensor:
        """The next row; on the first stage x is only its number."""
        row = self.rows[self.at]
        self.at += 1
        length = row.ids.shape[1]
        came = self.decoder.embed_tokens(row.ids) if self._first else x[:, :length]
        with self._narrowly():
            out = self.decoder(
                inputs_embeds=came, position_ids=row.positions, use_cache=False, layout=row.layout
            ).last_hidden_state.to(came.dtype)
        return nn.functional.pad(out, (0, 0, 0, self._longest - length))


class PipelineStep(MeshStep):
    """One stage. The loss is known at the last; a tied embedding is held by the first and the last."""

    def __init__(self, model: Any, trained: Trained, place: Place, *, longest: int) -> None:
        make_plain(model, trained)
        decoder, output = model.get_decoder(), model.get_output_embeddings()
        self._stages, self._number = place.model.size(), place.model.get_local_rank()
        self._first, self._last = self._number == 0, self._number == self._stages - 1
        self._learns = output.weight.requires_grad
        self._output = output.weight
        self._tied = output.weight is decoder.embed_tokens.weight
        count = len(decoder.layers)
        ends = [count * number // self._stages for number in range(self._stages + 1)]
        layers = range(ends[self._number], ends[self._number + 1])
        held = {
            name: parameter
            for name, parameter in trained_parameters(model, trained).items()
            if self._holds(name, layers)
        }
        stage = Stage(decoder, longest, self.narrowly, first=self._first, last=self._last, layers=layers)
        stream = torch.zeros(1, longest, model.config.hidden_size, dtype=output.weight.dtype)
        stream.requires_grad_()
        told = torch.zeros(1, 1) if self._first else stream
        self._stage, self._head = stage, Head(self._output, getattr(output, "bias", None))
        group = place.model.get_group()
        made = PipelineStage(
            stage, self._number, self._stages, CPU, input_args=told, output_args=stream, group=group
        )
        self._made = made
        self._schedules: dict[int, Schedule1F1B] = {}
        self._counting = 0
        self._total = 0.0
        self._asked: list[Tensor] | None = None
        super().__init__(held, place)

    def _holds(self, name: str, layers: range) -> bool:
        path = name.split(".")
        if "layers" in path:
            return int(path[path.index("layers") + 1]) in layers
        if path[-2] == "embed_tokens":
            return self._first or (self._last and self._tied)
        return self._last

    def backward(self, rows: Sequence[Row], rounds: int) -> float:
        """See MeshStep."""
        self._total = 0.0
        self._run(rows, [*rows, *[self._spare] * (max(rounds, self._stages) - len(rows))], learn=True)
        return self._total

    def forward_backward(self, batch: Sequence[Row]) -> Any:
        """Overwrite `gradient` with this process's part of that of the batch's summed loss."""
        self._spare = batch[0]
        return super().forward_backward(batch)

    def losses(self, rows: Sequence[Row]) -> list[Tensor]:
        """Of each row the loss (nats) of each of its labels; all processes ask at once."""
        self.put(self.flat)
        self._asked = []
        with torch.no_grad():
            self._run(rows, [*rows, *[rows[0]] * max(0, self._stages - len(rows))], learn=False)
        told = [self._asked]
        self._asked = None
        dist.broadcast_object_list(told, group=self.place.model.get_group(), group_src=self._stages - 1)
        return told[0][: len(rows)]

    def together(self) -> None:
        """Add up the copies', and the tied embedding's at both ends."""
        if self._tied and self._learns:
            ends = self.state(self.gradient).get(EMBEDDING)
            both = torch.zeros_like(self._output) if ends is None else ends
            self.place.add_parts(both)
        super().together()

    def own(self, name: str, part: Tensor) -> bool | None:
        """A tied embedding counts on the first stage."""
        return None if name == EMBEDDING and not self._first else True

    def _run(self, rows: Sequence[Row], padded: Sequence[Row], *, learn: bool) -> None:
        self._counting = len(rows)
        self._stage.rows, self._stage.at = padded, 0
        count = len(padded)
        if count not in self._schedules:
            self._schedules[count] = Schedule1F1B(self._made, count, loss_fn=self._end, scale_grads=False)
        schedule = self._schedules[count]
        numbers = torch.arange(count, dtype=torch.float32)[:, None]
        run = schedule.step if learn else schedule.eval
        given = (numbers,) if self._first else ()
        run(*given, target=numbers if self._last else None)

    def _end(self, stream: Tensor, number: Tensor) -> Tensor:
        """The loss of a row whose stream has come to the last stage."""
        at = int(number)
        row = self._stage.rows[at]
        hidden = stream[0].index_select(0, row.before)
        if self._asked is not None:
            self._head.weight = self._output.detach()
            self._asked.append(self._head.losses_and_gradient(hidden, row.labels)[0])
            return torch.zeros(())
        loss = self.loss_of(self._head, hidden, self._output if self._learns else None, row)
        if at >= self._counting:
            return loss * 0
        self._total += loss.item()
        return loss


EMBEDDING = "model.embed_tokens.weight"
