"""Step train.tune: a Model and the pairs of a Corpus become a better Model, within a budget."""

from __future__ import annotations

import math
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import TrainingError, need
from ..prompt import Prompter
from ..records.shapes import Choice, Fact, Inputs, Output, Record, Workspace
from . import allocator, seen, taken
from .device import room
from .here import Job, Ran, load_trained, train_here
from .material import gather, same_words
from .settings import TuneSettings

if TYPE_CHECKING:
    from .checkpoint import Progress
    from .trained import Trained


def run(settings: TuneSettings, inputs: Inputs, workspace: Workspace) -> Output:
    """Tune the record in role `model` on the one in role `corpus`, if asked with the one in role `teacher`.

    Killed and run again in the same workspace, it goes on from its last checkpoint and ends with the same
    bytes (same machine, same number of threads). Raises SourceError, TrainingError or NoRoom.
    """
    began = time.time()
    train = settings.train
    if train.method is None:
        raise TrainingError("there is nothing to tune: train.method is null")
    trial = inputs.all("trial")
    if trial:
        return taken.take(trial[0], inputs.one("model"), workspace)
    choices = [allocator.tune()]
    need("torch", extra="train", for_="tuning")
    corpus, base = inputs.one("corpus"), inputs.one("model")
    teachers = inputs.all("teacher")
    if teachers:
        same_words(base.folder, teachers[0].folder)
    workspace.report("reading pairs")
    config = base.json("config.json")
    material = gather(corpus.folder, Prompter(base.folder), train, config.get("vocab_size") or 1 << 62)
    choices += material.choices
    job = Job(
        settings,
        corpus.folder,
        base.folder,
        teachers[0].folder if teachers else None,
        workspace.state,
        workspace.out,
        workspace.threads,
        began,
    )
    trained: Trained | None
    if train.parallel is None or train.parallel.processes == 1:
        with room():
            ran, trained = train_here(job, material, workspace.report)
    else:
        from .parallel.start import run_together

        ran, choice = run_together(job, train.parallel, config, workspace.report)
        choices.append(choice)
        trained = _learned(job)
    if isinstance(ran, Output):
        return ran
    assert trained is not None
    choices += ran.choices
    facts = ran.facts | _facts(ran, trained, base.folder)
    name = base.json("base.json").get("name", "")
    seen.draw(ran.progress, facts, ran.unit, name, workspace.out / "loss.svg")
    choices += _write(trained, ran.progress, base, workspace, trial=settings.of_search)
    return Output(facts, tuple(choices))


def _learned(job: Job) -> Trained:
    """What several processes have learned, out of their last checkpoint."""
    from . import loop

    _, trained = load_trained(job)
    loop.load(job.state, trained.named, trained.flat, loop.optimizer(trained.flat, job.train))
    return trained


def _write(
    trained: Trained, progress: Progress, base: Record, workspace: Workspace, *, trial: bool
) -> list[Choice]:
    from . import export
    from .lora import Adapters

    workspace.report("writing the model")
    if isinstance(trained, Adapters):
        export.write_adapter(trained, workspace.out / "adapter", base.json("base.json").get("name", ""))
    export.write_loss(progress, workspace.out / "loss.json")
    choices = []
    if not trial or not isinstance(trained, Adapters):
        choices.append(export.write_model(trained, base.folder, workspace.out))
    if progress.skipped:
        steps = ", ".join(str(number + 1) for number in progress.skipped)
        why = "their loss leapt or was no number; the run went back to its last checkpoint each time"
        choices.append(Choice("train.skipped", f"steps left out: {steps}", why))
    return choices


def _facts(ran: Ran, trained: Trained, base: Path) -> dict[str, Fact]:
    from .weights import safetensors_header

    progress, unit = ran.progress, ran.unit
    tenth = max(1, len(progress.losses) // 10)
    whole = sum(math.prod(stored.shape) for stored in safetensors_header(base / "model.safetensors").values())
    return {
        "train.tokens": Fact(float(progress.tokens), "tokens", n=len(progress.losses)),
        "train.tps": Fact(progress.tokens / progress.seconds, "tokens/s", n=len(progress.losses)),
        "train.loss_first": Fact(statistics.fmean(progress.losses[:tenth]), unit, n=tenth),
        "train.loss_last": Fact(statistics.fmean(progress.losses[-tenth:]), unit, n=tenth),
        "train.memory_peak_gib": Fact(ran.peak_gib, "GiB"),
        "train.parameters": Fact(float(trained.flat.numel()), "parameters"),
        "model.parameters": Fact(float(whole), "parameters"),
    }
