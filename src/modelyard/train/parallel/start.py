"""Start the processes of a layout on this machine, tell their progress, and end them all when one fails."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch import multiprocessing
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn

from ... import errors
from ...errors import ModelyardError, TrainingError
from ...prompt import Prompter
from ...records.shapes import Choice, Output
from .. import allocator
from ..here import Job, Ran, train_here
from ..material import gather
from ..settings import Parallel
from . import team
from .place import check_fits, take_place

JOIN_S = 0.2  # between two looks at the processes
PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


def run_together(
    job: Job, parallel: Parallel, config: dict[str, Any], report: Callable[..., None]
) -> tuple[Ran | Output, Choice]:
    """Run a job in the processes of a layout, and return when all have ended; and the layout as a choice.

    Each has its share of the job's threads. Raises the error that one of them raised, or TrainingError for
    one that died; the others are then ended. config: the base's config.json.
    """
    check_fits(parallel, config)
    shape = ", ".join(f"{name} {count}" for name, count in parallel.model_dump().items() if count > 1)
    if team.started():
        why = "the project asks for it, and its processes were started together"
        return team.lead(job, report), Choice("train.parallel", shape, why)
    processes = parallel.processes
    threads = max(1, job.threads // processes)
    told = multiprocessing.get_context("spawn").SimpleQueue()
    meet = job.state / f"meeting-{uuid.uuid4().hex}"
    arguments = (processes, replace(job, threads=threads), meet, os.getpid(), told)
    started = spawn(_process, arguments, nprocs=processes, join=False)  # type: ignore[no-untyped-call]
    said: list[tuple[str, Any]] = []

    def listen() -> None:
        while not told.empty():
            kind, what = told.get()
            if kind == "report":
                report(*what[0], **what[1])
            else:
                said.append((kind, what))

    try:
        while not started.join(timeout=JOIN_S):
            listen()
        listen()
    except (ProcessExitedException, ProcessRaisedException) as error:
        listen()
        raise _first_error(said) or _died(error, processes) from None
    finally:
        for one in started.processes:
            one.kill()
        meet.unlink(missing_ok=True)
    (ran,) = (what for kind, what in said if kind == "ran")
    shape = ", ".join(f"{name} {count}" for name, count in parallel.model_dump().items() if count > 1)
    return ran, Choice(
        "train.parallel", shape, f"the project asks for it; {threads} threads for each process"
    )


def _first_error(said: list[tuple[str, Any]]) -> ModelyardError | None:
    for kind, what in said:
        if kind == "error":
            name, text, where, try_ = what
            made: ModelyardError = getattr(errors, name)(text, where=where, try_=try_)
            return made
    return None


def _process(rank: int, processes: int, job: Job, meet: Path, parent: int, told: Any) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # with the one that started it
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one hears it, too
    allocator.tune()
    torch.set_num_threads(job.threads)
    report = (lambda *a, **k: told.put(("report", (a, k)))) if rank == 0 else _mute
    try:
        dist.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=processes)
        ran = take_part(job, report)
        if rank == 0:
            told.put(("ran", ran))
        dist.barrier()
    except ModelyardError as error:
        told.put(("error", (type(error).__name__, error.what, error.where, error.try_)))
        raise SystemExit(1) from None
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def take_part(job: Job, report: Callable[..., None]) -> Ran | Output:
    """This process's part of a job, among those of its process group."""
    train = job.train
    assert train.parallel is not None
    place = take_place(train.parallel)
    if not job.base.is_dir():
        raise TrainingError(
            f"process {dist.get_rank() + 1} of {dist.get_world_size()} does not see {job.base}",
            where="torchrun",
            try_="a project folder that all machines share, under the same path",
        )
    config = json.loads((job.base / "config.json").read_text("utf-8"))
    material = gather(job.corpus, Prompter(job.base), train, config.get("vocab_size") or 1 << 62)
    ran, _ = train_here(job, material, report, place)
    return ran


def _mute(*_: Any, **__: Any) -> None:
    """The first process reports for all."""


def _died(error: ProcessExitedException | ProcessRaisedException, processes: int) -> TrainingError:
    number = error.error_index + 1
    if isinstance(error, ProcessExitedException) and error.signal_name:
        what = f"process {number} of {processes} was ended by {error.signal_name}; the others were ended, too"
    else:
        last = str(error).strip().splitlines()[-1][:200]
        what = f"process {number} of {processes} ended: {last}; the others were ended, too"
    return TrainingError(
        what,
        where="train.parallel",
        try_="the same command once more: it goes on from the last checkpoint; less memory if it was killed",
    )
