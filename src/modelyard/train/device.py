"""Where a run computes: on this machine's GPU where there is one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import TrainingError
from ..records.shapes import Choice, Fact
from .settings import Train

if TYPE_CHECKING:
    import torch

CUDA = "train.device"
ROW_TOKENS = 16384
"""Of a row on a GPU: a small model's products need that many to be larger than the wait for their start."""


def choose_device(train: Train) -> tuple[torch.device, Choice | None]:
    """The device, and why where it is a GPU. Raises TrainingError where one is asked for and none is here."""
    # Rows differ in length: without it, blocks of memory of each length are kept, and new ones asked for.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    import torch

    there = torch.cuda.is_available()
    if train.device == "cuda" and not there:
        raise TrainingError(
            f"torch {torch.__version__} sees no GPU",
            where=CUDA,
            try_="device: cpu; or a build of torch for the GPU's driver",
        )
    together = train.parallel is not None and train.parallel.processes > 1
    if not there or train.device == "cpu" or together:
        return torch.device("cpu"), None
    return torch.device("cuda"), Choice(CUDA, "cuda", torch.cuda.get_device_name())


def facts(device: torch.device) -> dict[str, Fact]:
    """The most memory that tensors took on a GPU; nothing of a CPU."""
    import torch

    if device.type != "cuda":
        return {}
    return {"train.gpu_memory_peak_gib": Fact(torch.cuda.max_memory_allocated() / 2**30, "GiB")}


@contextmanager
def room() -> Iterator[None]:
    """Tell plainly of a GPU whose memory is full."""
    import torch

    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise TrainingError(
            f"the memory of {torch.cuda.get_device_name()} is full",
            where=CUDA,
            try_="a smaller batch_tokens; or device: cpu",
        ) from None
