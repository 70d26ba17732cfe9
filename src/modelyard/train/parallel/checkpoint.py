"""A checkpoint that any layout can read: values by name, written by all processes at once.

torch.distributed.checkpoint cuts and joins what is spread. Two folders take turns: the pointer beside them,
replaced last, names the one that counts, and the other is the one that is written.
"""

from __future__ import annotations

import json
import math
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import WriteResult
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.futures import Future

from ...errors import NoRoom, RecordError
from ...records.files import is_full
from .. import checkpoint as alone
from ..checkpoint import Progress
from ..saving import write_json

POINTER, FOLDERS = "spread.json", ("spread-a", "spread-b")
Named = Callable[[Tensor], Mapping[str, Tensor]]
"""Where each trained value lies in a tensor laid out like this process's trained one."""


def save(
    state: Path, named: Named, flat: Tensor, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Replace the checkpoint in `state`; all processes call it at once. Raises NoRoom on a full disk."""
    folder = state / _first_says(lambda: _clear(state))
    try:
        with _quiet():
            tensors = _tensors(named, flat, optimizer)
            state_dict_saver.save(tensors, storage_writer=_Writer(folder), no_dist=not dist.is_initialized())
    except CheckpointException as error:
        causes = [cause for cause, _ in error.failures.values()]
        if not any(isinstance(cause, OSError) and is_full(cause) for cause in causes):
            raise causes[0] from None  # torch's own is no Exception
        if _first():
            shutil.rmtree(folder, ignore_errors=True)
        raise NoRoom(
            f"the disk is full: {folder.name} could not be written",
            where=str(state),
            try_="free some space and start again; the work so far is kept",
        ) from None
    if _first():
        kept = optimizer.state[optimizer.param_groups[0]["params"][0]]
        told = {"folder": folder.name, "optimizer_step": float(kept["step"])}
        write_json(state / POINTER, asdict(progress) | told)
        for name in FOLDERS:
            if name != folder.name:
                shutil.rmtree(state / name, ignore_errors=True)
    _wait()


class _Writer(FileSystemWriter):
    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        try:
            return super().write_data(plan, planner)
        except RuntimeError as error:  # torch's file format says of a full disk that its position is odd
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, OSError):
                cause = cause.__context__
            raise cause or error from None


def _clear(state: Path) -> str:
    """Make room for the folder that is to be written; its name."""
    told = _told(state) if (state / POINTER).is_file() else {}
    name = FOLDERS[told.get("folder") == FOLDERS[0]]
    shutil.rmtree(state / name, ignore_errors=True)  # of a start that was killed while it wrote
    return name


def step_of(state: Path) -> int:
    """The step that the checkpoint in `state` was written after; 0 without one."""
    return int(_told(state)["step"]) if (state / POINTER).is_file() else 0


def load(
    state: Path, named: Named, flat: Tensor, optimizer: torch.optim.Optimizer, *, together: bool = False
) -> Progress:
    """Put `flat` and `optimizer` back to where the checkpoint in `state` was, whatever layout wrote it.

    `together`: all processes ask at once; else this one alone, though there may be others that wait.
    Raises RecordError when it is damaged or belongs to another run.
    """
    told = _told(state)
    folder, after = state / told.pop("folder"), told.pop("optimizer_step")
    progress = Progress(**told)
    try:
        with _quiet():
            state_dict_loader.load(
                _tensors(named, flat, optimizer),
                checkpoint_id=folder,
                no_dist=not together,
            )
    except (CheckpointException, RuntimeError, OSError) as error:
        if "gloo" in str(error):  # another process is gone, and the checkpoint as it was
            raise
        raise _damaged(state) from error
    optimizer.state[optimizer.param_groups[0]["params"][0]]["step"].fill_(after)
    return progress


def take_over(state: Path, named: Named, flat: Tensor, optimizer: torch.optim.Optimizer) -> Progress:
    """The same from a checkpoint that a process alone has written; each process takes what it holds."""
    kept = alone.read(state)
    moments = optimizer.state[optimizer.param_groups[0]["params"][0]]
    parts = (
        (flat.detach(), kept.trained),
        (moments["exp_avg"], kept.first_moment),
        (moments["exp_avg_sq"], kept.second_moment),
    )
    try:
        for of, whole in parts:
            for name, view in named(of).items():
                at, shape = kept.places[name]
                _fill(view, whole[at : at + math.prod(shape)].view(shape))
    except (KeyError, RuntimeError):
        raise alone.damaged(state) from None
    moments["step"].fill_(kept.optimizer_step)
    return kept.progress


def _fill(view: Tensor, value: Tensor) -> None:
    """Set `view`, all of it or this process's part of it, to `value`, which is there as a whole."""
    if view.shape != value.shape:
        raise KeyError(value.shape)
    if isinstance(view, DTensor):
        spread = distribute_tensor(value, view.device_mesh, view.placements, src_data_rank=None)
        view.to_local().copy_(spread.to_local())
    else:
        view.copy_(value)


def _tensors(named: Named, flat: Tensor, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    kept = optimizer.state[optimizer.param_groups[0]["params"][0]]
    parts = {"value": flat.detach(), "first": kept["exp_avg"], "second": kept["exp_avg_sq"]}
    return {f"{part}.{name}": view for part, of in parts.items() for name, view in named(of).items()}


def _told(state: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads((state / POINTER).read_text("utf-8"))
        if not (isinstance(told["step"], int) and told["folder"] in FOLDERS):
            raise ValueError(told)
    except (ValueError, KeyError, TypeError):
        raise _damaged(state) from None
    return told


def _damaged(state: Path) -> RecordError:
    return RecordError(
        "the checkpoint of this run is damaged",
        where=str(state / POINTER),
        try_="remove that file: the run starts anew",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that one process saves alone, and what torch says of itself
        yield


def _first() -> bool:
    return not dist.is_initialized() or dist.get_rank() == 0


def _first_says(told: Callable[[], str]) -> str:
    """What the first process finds, the others having waited for it."""
    box = [told() if _first() else ""]
    if dist.is_initialized():
        dist.broadcast_object_list(box, src=0)
    return box[0]


def _wait() -> None:
    if dist.is_initialized():
        dist.barrier()
