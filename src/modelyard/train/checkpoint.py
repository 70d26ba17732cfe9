"""All that a killed run needs to go on as if nothing had happened: one safetensors file, replaced whole.

There is no random state in it: the order of the samples follows from the seed and the step's number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..errors import RecordError, SourceError
from .saving import read_into, write_tensors
from .weights import safetensors_header

NAME = "checkpoint.safetensors"
EVERY_S = 20.0  # about; a run counts it in steps, so that what it goes back to depends on no clock
COST_SHARE = 0.02  # of a run's time, at most: with large checkpoints there are fewer of them


@dataclass(slots=True)
class Progress:
    """How far a run is. Losses in nats per label, one a step taken; `seconds` of training so far."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    token_counts: list[int] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    """Numbers of the steps whose batches were left out, from 0."""
    scale: float | None = None
    """What the gradient was computed times, at the last step; None before the first."""


def save(
    state: Path,
    flat: Tensor,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    named: Callable[[Tensor], Mapping[str, Tensor]] | None = None,
) -> None:
    """Replace the checkpoint in `state`. Raises NoRoom when the disk is full; the one before it stays.

    `named`: where each value lies in a tensor laid out like `flat`, which several processes ask to go on.
    """
    kept = optimizer.state[optimizer.param_groups[0]["params"][0]]
    tensors = {
        "trained": flat.detach(),
        "first_moment": kept["exp_avg"],
        "second_moment": kept["exp_avg_sq"],
        "optimizer_step": kept["step"].reshape(1),
        "losses": torch.tensor(progress.losses, dtype=torch.float64),
        "token_counts": torch.tensor(progress.token_counts, dtype=torch.int64),
        "skipped": torch.tensor(progress.skipped, dtype=torch.int64),
        "seconds": torch.tensor([progress.seconds], dtype=torch.float64),
        "scale": torch.tensor([] if progress.scale is None else [progress.scale], dtype=torch.float64),
    }
    told = {"step": str(progress.step), "tokens": str(progress.tokens)}
    if named is not None:
        places = {
            name: (view.storage_offset() - flat.storage_offset(), view.shape)
            for name, view in named(flat.detach()).items()
        }
        told["places"] = json.dumps(places)
    write_tensors(state / NAME, tensors, told)


def every(step_s: float, save_s: float) -> int:
    """Steps between two checkpoints, of steps and savings that take so many seconds."""
    return max(1, round(max(EVERY_S, save_s / COST_SHARE) / step_s))


def step_of(state: Path) -> int:
    """The step that the checkpoint in `state` was written after; -1 without one."""
    path = state / NAME
    if not path.is_file():
        return -1
    with path.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return int(header["__metadata__"]["step"])


@dataclass(frozen=True, slots=True)
class Kept:
    """What a checkpoint holds: the values and both moments [N], and where each value lies, if it tells.

    The tensors are maps of the file.
    """

    progress: Progress
    trained: Tensor
    first_moment: Tensor
    second_moment: Tensor
    optimizer_step: float
    places: dict[str, tuple[int, tuple[int, ...]]]
    """By name: from which value on, and the shape."""


def load(state: Path, flat: Tensor, optimizer: torch.optim.Optimizer) -> Progress:
    """Put `flat` and `optimizer` back to where the checkpoint in `state` was; without one, nothing changes.

    Raises RecordError when the file is damaged or belongs to another run.
    """
    if not (state / NAME).is_file():
        return Progress()
    kept = read(state)
    moments = optimizer.state[optimizer.param_groups[0]["params"][0]]
    large = {
        "trained": flat.detach(),
        "first_moment": moments["exp_avg"],
        "second_moment": moments["exp_avg_sq"],
    }
    if kept.trained.shape != flat.shape:
        raise damaged(state)
    read_into(state / NAME, large)
    moments["step"].fill_(kept.optimizer_step)
    return kept.progress


def read(state: Path) -> Kept:
    """The checkpoint in `state`. Raises RecordError when the file is damaged."""
    path = state / NAME
    from safetensors import safe_open

    try:
        shapes = safetensors_header(path)
        with safe_open(path, framework="pt") as file:
            told = file.metadata()
            tensors = {name: file.get_tensor(name) for name in shapes}
        progress = Progress(
            int(told["step"]),
            int(told["tokens"]),
            float(tensors["seconds"].item()),
            tensors["losses"].tolist(),
            tensors["token_counts"].tolist(),
            tensors["skipped"].tolist(),
            next(iter(tensors["scale"].tolist()), None),
        )
        return Kept(
            progress,
            tensors["trained"],
            tensors["first_moment"],
            tensors["second_moment"],
            float(tensors["optimizer_step"].item()),
            {name: (at, tuple(shape)) for name, (at, shape) in json.loads(told.get("places", "{}")).items()},
        )
    except (SourceError, ValueError, KeyError, TypeError):
        raise damaged(state) from None


def damaged(state: Path) -> RecordError:
    """What is told of a file that cannot be read, or is of another run."""
    return RecordError(
        "the checkpoint of this run is damaged",
        where=str(state / NAME),
        try_="remove that file: the run starts anew",
    )
