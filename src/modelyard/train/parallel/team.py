"""Processes that torchrun started, here or on several machines that share a folder: one runs the line.

The first process does what `up` does; the others wait until it has a model to train, take their part in that,
and wait again. Nothing but the job's paths and settings goes to them by the process group.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from ...errors import TrainingError
from ..settings import Parallel

_busy = threading.Event()  # set while the team trains
WAIT = timedelta(days=30)  # the first process may be busy with other steps for long


def started() -> bool:
    """Whether torchrun, or something that sets its variables, started this process as one of several."""
    return world() > 1 and "RANK" in os.environ


def world() -> int:
    """How many processes were started together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def check_world(parallel: Parallel | None, world: int) -> None:
    """Raises TrainingError unless there are as many processes as the layout needs."""
    needed = 1 if parallel is None else parallel.processes
    if world != needed:
        raise TrainingError(
            f"the layout needs {needed} processes, and there are {world}",
            where="train.parallel",
            try_=f"as many processes, or a layout of {world}",
        )


@contextmanager
def team() -> Iterator[bool]:
    """Meet the other processes; whether this is the first. For the others the block is to do nothing.

    When the first leaves, all end. Where it leaves a job by an error, the others are in the midst of it: its
    end closes their connections, and that ends them.
    """
    from torch import distributed as dist

    dist.init_process_group("gloo", timeout=WAIT)
    try:
        if dist.get_rank() == 0:
            try:
                yield True
            finally:
                if not _busy.is_set():
                    dist.broadcast_object_list([None], src=0)
        else:
            _follow()
            yield False
    finally:
        dist.destroy_process_group()


def _follow() -> None:
    from torch import distributed as dist

    from .start import take_part

    while True:
        told: list[Any] = [None]
        dist.broadcast_object_list(told, src=0)
        if told[0] is None:
            return
        take_part(told[0], _mute)


def lead(job: Any, report: Callable[..., None]) -> Any:
    """Have all processes of the team train; what became of it. Called by the first."""
    from torch import distributed as dist

    from .start import take_part

    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # they share this machine's threads
    job = replace(job, threads=max(1, job.threads // here))
    dist.broadcast_object_list([job], src=0)
    _busy.set()
    try:
        ran = take_part(job, report)
    except RuntimeError as error:
        if "gloo" not in str(error):
            raise
        raise TrainingError(
            "another process of the team ended in the midst of training; its own output tells why",
            where="train.parallel",
            try_="the same command once more: it goes on from the last checkpoint",
        ) from None
    _busy.clear()
    return ran


def _mute(*_: Any, **__: Any) -> None:
    """The first process reports for all."""
