"""Start the processes of a layout on this machine, tell their progress, and end them all when one fails."""

from __future__ import annotations

import ctypes
import os
import signal
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch import multiprocessing
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from ... import errors
from ...errors import ModelyardError, TrainingError
from ..settings import TuneSettings
from .place import take_place

JOIN_S = 0.2  # between two looks at the processes
PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


@dataclass(frozen=True, slots=True)
class Job:
    """All that a process needs to know; `threads` are its own."""

    settings: TuneSettings
    corpus: Path
    base: Path
    teacher: Path | None
    state: Path
    threads: int


Work = Callable[[Job, Any, Callable[..., None]], None]
"""What each process does: with the job, its place, and a way to report."""


def run(job: Job, processes: int, work: Work, report: Callable[..., None]) -> None:
    """Run `work` in so many processes, and return when all have ended.

    Raises the error that one of them raised, or TrainingError for one that died; the others are then ended.
    """
    context = multiprocessing.get_context("spawn")
    told = context.SimpleQueue()
    meet = job.state / f"meeting-{uuid.uuid4().hex}"
    arguments = (processes, job, work, meet, os.getpid(), told)
    started = multiprocessing.spawn(_process, arguments, nprocs=processes, join=False)
    assert started is not None
    failed: ModelyardError | None = None
    try:
        while True:
            ended = started.join(timeout=JOIN_S)
            while not told.empty():
                kind, said = told.get()
                if kind == "report":
                    report(*said[0], **said[1])
                else:
                    failed = failed or _error(*said)
            if ended:
                break
    except (ProcessExitedException, ProcessRaisedException) as error:
        while not told.empty():
            kind, said = told.get()
            if kind == "error":
                failed = failed or _error(*said)
        raise failed or _died(error, processes) from None
    finally:
        for one in started.processes:
            one.kill()
        meet.unlink(missing_ok=True)
    if failed is not None:
        raise failed


def _process(rank: int, processes: int, job: Job, work: Work, meet: Path, parent: int, told: Any) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # nobody trains on for a process that was killed
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one hears it, too
    torch.set_num_threads(job.threads)
    silent = rank != 0
    try:
        dist.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=processes)
        parallel = job.settings.train.parallel
        assert parallel is not None
        place = take_place(parallel)
        work(job, place, _mute if silent else lambda *a, **k: told.put(("report", (a, k))))
        dist.barrier()
    except ModelyardError as error:
        told.put(("error", (type(error).__name__, error.what, error.where, error.try_)))
        raise SystemExit(1) from None
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _mute(*_: Any, **__: Any) -> None:
    """The first process reports for all."""


def _error(kind: str, what: str, where: str, try_: str) -> ModelyardError:
    made: ModelyardError = getattr(errors, kind)(what, where=where, try_=try_)
    return made


def _died(error: ProcessExitedException | ProcessRaisedException, processes: int) -> TrainingError:
    said = str(error).strip().splitlines()
    if isinstance(error, ProcessExitedException) and error.signal_name:
        how = f"was ended by {error.signal_name}"
    else:
        how = f"ended: {said[-1][:200]}" if said else "ended"
    return TrainingError(
        f"process {error.error_index + 1} of {processes} {how}; the others were ended, too",
        where="train.parallel",
        try_="the same command once more: it goes on from the last checkpoint; less memory if it was killed",
    )
