"""Where a process stands among those that train together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from ...errors import TrainingError
from ..explicit.step import FAMILY
from ..row import Row
from ..settings import Parallel
from .team import check_world

T = TypeVar("T")
Kind = Literal["data", "shard", "tensor", "pipeline"]


@dataclass(frozen=True, slots=True)
class Place:
    """This process in a mesh of (data, model): `model` processes hold one copy of the model together.

    `kind` says how they do.
    """

    mesh: DeviceMesh
    kind: Kind

    @property
    def data(self) -> DeviceMesh:
        """The processes that hold what this one holds."""
        return self.mesh["data"]

    @property
    def model(self) -> DeviceMesh:
        """The processes that hold one copy of the model with this one."""
        return self.mesh["model"]

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and reports for all."""
        return dist.get_rank() == 0

    @property
    def copies(self) -> int:
        """Processes, or groups of them, that have rows of their own."""
        return dist.get_world_size() if self.kind == "shard" else self.data.size()

    def rows(self, batch: Sequence[Row]) -> Sequence[Row]:
        """This process's rows of a batch: every nth, by a rule that only its place decides."""
        if self.kind == "shard":
            return batch[dist.get_rank() :: dist.get_world_size()]
        return batch[self.data.get_local_rank() :: self.data.size()]

    def rounds(self, batch: Sequence[Row]) -> int:
        """Rows of the process that has most."""
        return -(-len(batch) // self.copies)

    def add(self, tensor: Tensor) -> Tensor:
        """The sum of `tensor` over all copies of the model, in place.

        Over whole gradients this is what torch's DistributedDataParallel computes. It hides the sum behind
        the backward pass of modules, bucket by bucket; here a gradient is one flat tensor that a step may
        have made by hand, so the sum is one call.
        """
        return _add(tensor, self.data)

    def add_parts(self, tensor: Tensor) -> Tensor:
        """The sum of `tensor` over the processes of one copy, in place."""
        return _add(tensor, self.model)

    def agree(self, told: T) -> T:
        """What the first process of all says, for what is measured or drawn by the clock."""
        box = [told]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def most(self, number: float) -> float:
        """The largest of all processes' numbers."""
        told = torch.tensor(number, dtype=torch.float64)
        dist.all_reduce(told, dist.ReduceOp.MAX)
        return float(told)

    def total(self, numbers: Sequence[float]) -> list[float]:
        """Sums of numbers over all processes that have rows of their own."""
        sums = self.add(torch.tensor(numbers, dtype=torch.float64))
        if self.kind in ("shard", "pipeline"):  # of a pipeline all but its end tell zeros
            self.add_parts(sums)
        found: list[float] = sums.tolist()
        return found


def _add(tensor: Tensor, mesh: DeviceMesh) -> Tensor:
    if mesh.size() > 1:
        dist.all_reduce(tensor, group=mesh.get_group())
    return tensor


def kind_of(parallel: Parallel) -> Kind:
    """How the processes of one copy of the model share it; data where each holds a whole one."""
    for kind, count in (
        ("shard", parallel.shard),
        ("tensor", parallel.tensor),
        ("pipeline", parallel.pipeline),
    ):
        if count > 1:
            return kind  # type: ignore[return-value]
    return "data"


def take_place(parallel: Parallel) -> Place:
    """This process's place; the process group stands already. Raises TrainingError if it has another size."""
    check_world(parallel, dist.get_world_size())
    shape = (parallel.data, parallel.model)
    return Place(init_device_mesh("cpu", shape, mesh_dim_names=("data", "model")), kind_of(parallel))


def check_fits(parallel: Parallel, config: Any) -> None:
    """Raises TrainingError where a model of this config.json cannot be cut into so many parts."""
    if parallel.pipeline > 1 and parallel.pipeline > (layers := int(config["num_hidden_layers"])):
        raise TrainingError(
            f"{layers} layers cannot be dealt to {parallel.pipeline} stages",
            where="train.parallel.pipeline",
            try_=f"pipeline: {layers} at most",
        )
    if parallel.tensor == 1:
        return
    if config["model_type"] not in FAMILY:
        raise TrainingError(
            f"how to cut the products of a {config['model_type']} is not known",
            where="train.parallel.tensor",
            try_="shard or pipeline",
        )
    heads = int(config["num_attention_heads"])
    parts = (heads, int(config.get("num_key_value_heads") or heads), int(config["intermediate_size"]))
    if any(part % parallel.tensor for part in parts):
        fits = [n for n in range(1, parts[1] + 1) if not any(part % n for part in parts)]
        raise TrainingError(
            f"{parts[0]} heads, {parts[1]} key heads and an inner width of {parts[2]} "
            f"cannot be cut into {parallel.tensor} equal parts",
            where="train.parallel.tensor",
            try_=f"tensor: {' or '.join(map(str, fits))}",
        )
