"""The step of a process among others, by the layout."""

from __future__ import annotations

from typing import Any

from ...errors import TrainingError
from ...records.shapes import Choice
from ..choose_step import APART_MAX, choose_step
from ..row import Row, pack
from ..samples import Sample
from ..step import AutogradStep, Step, check_packing
from ..trained import Trained
from .mesh_step import MeshStep
from .pipeline import PipelineStep
from .place import Place
from .sharded import ShardedStep
from .tensor import TensorStep

WHY = "the layout spreads the weights, which autograd's modules allow"


def spread(
    model: Any, trained: Trained, place: Place, sample: Sample, longest: int, workers: int, threads: int
) -> tuple[Step, Choice]:
    """The step of this process for `model`, all of which it has still, and why that one.

    Raises TrainingError where the packed step, or the layout, does not give the loss of the model itself.
    """
    if place.kind == "data":
        step, choice = choose_step(model, trained, sample, longest, workers, threads)
        step.place = place
        return step, choice
    alone = AutogradStep(model, trained, workers=1, threads=1)
    check_packing(alone, model, sample)
    row = pack([sample] * (2 if 2 * len(sample) <= longest else 1))
    wanted = float(alone.losses([row])[0].sum())
    made = make_step(model, trained, place, longest)
    check_layout(made, row, wanted)
    return made, Choice("train.step", made.name, WHY)


def check_layout(step: MeshStep, row: Row, wanted: float) -> None:
    """Raises TrainingError unless `step` gives the loss that one process gives; all processes ask at once.

    Guards against architectures that do between their layers what a layout does not know of.
    """
    found = float(step.losses([row])[0].sum())
    if not abs(found - wanted) <= APART_MAX * max(1.0, abs(wanted)):
        raise TrainingError(
            f"in this layout the loss is {found:.4f} where one process gives {wanted:.4f}: "
            "it does not know this architecture",
            where="train.parallel",
            try_="data alone, which keeps the model whole",
        )


def make_step(model: Any, trained: Trained, place: Place, longest: int) -> MeshStep:
    """The step of a layout in which no process keeps the whole model."""
    if place.kind == "shard":
        return ShardedStep(model, trained, place)
    if place.kind == "tensor":
        return TensorStep(model, trained, place)
    return PipelineStep(model, trained, place, longest=longest)
