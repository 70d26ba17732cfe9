"""The step of a process among others, by the layout."""

from __future__ import annotations

from typing import Any

from ...records.shapes import Choice
from ..choose_step import choose_step
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

    Raises TrainingError where the packed step does not give the loss of the model itself.
    """
    if place.kind == "data":
        step, choice = choose_step(model, trained, sample, longest, workers, threads)
        step.place = place
        return step, choice
    check_packing(AutogradStep(model, trained, workers=1, threads=1), model, sample)
    made = make_step(model, trained, place, longest)
    return made, Choice("train.step", made.name, WHY)


def make_step(model: Any, trained: Trained, place: Place, longest: int) -> MeshStep:
    """The step of a layout in which no process keeps the whole model."""
    if place.kind == "shard":
        return ShardedStep(model, trained, place)
    if place.kind == "tensor":
        return TensorStep(model, trained, place)
    return PipelineStep(model, trained, place, longest=longest)
