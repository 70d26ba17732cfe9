"""Step train.tune: a Model and the pairs of a Corpus become a better Model, within a budget."""

from __future__ import annotations

import math
import resource
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import TrainingError, need
from ..prompt import Prompter
from ..records.shapes import Choice, Fact, Inputs, Output, Record, Workspace
from . import allocator, budget, seen, taken
from .budget import Plan
from .material import Material, gather, same_words
from .packing import Order, plan, steps
from .settings import Method, Train, TuneSettings

if TYPE_CHECKING:
    from .checkpoint import Progress
    from .samples import Item
    from .step import Step
    from .trained import Trained

# A worker with fewer tokens than this spends its time in small products.
WORKER_TOKENS_MIN = 400


def run(settings: TuneSettings, inputs: Inputs, workspace: Workspace) -> Output:
    """Tune the record in role `model` on the one in role `corpus`, if asked with the one in role `teacher`.

    Killed and run again in the same workspace, it goes on from its last checkpoint and ends with the same
    bytes (same machine, same number of threads). Raises SourceError, TrainingError or NoRoom.
    """
    begun = time.perf_counter()
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
    vocabulary = base.json("config.json").get("vocab_size") or 1 << 62
    material = gather(corpus.folder, Prompter(base.folder), train, vocabulary)
    choices += material.choices
    workspace.report("loading the model")
    step, trained, choice = _load(base.folder, train, train.method, workspace.threads, material)
    choices.append(choice)
    try:
        if teachers and train.distil is not None:
            from .load import load_teacher

            step.teacher = load_teacher(teachers[0].folder, train.distil)
        made = budget.load(workspace.state)
        if made is None:
            made = _plan(train, step, trained, material, workspace, begun)
            budget.save(made, workspace.state)
        else:
            from .precision import set_precision

            set_precision(step, made.precision)
        choices += [Choice(*choice) for choice in made.choices]
        view = seen.begin(step, corpus, base, settings, made, material.found.kept, workspace)
        try:
            progress = _train(made, train, step, trained, material, workspace, view.tps_at_roof)
        except TrainingError as apart:
            if not settings.trial:
                raise
            return taken.fallen(apart, made, view, choices)
        facts = seen.end(view, step, progress, workspace.out)
        unit = step.objective.unit
    finally:
        step.close()
    facts |= _facts(progress, trained, base.folder, unit)
    name = base.json("base.json").get("name", "")
    seen.draw(progress, facts, unit, name, workspace.out / "loss.svg")
    choices += _write(trained, progress, base, workspace, trial=settings.trial)
    return Output(facts, tuple(choices))


def _load(
    folder: Path, train: Train, method: Method, threads: int, material: Material
) -> tuple[Step, Trained, Choice]:
    import torch

    from . import whole
    from .choose_step import choose_step
    from .load import load_model
    from .lora import adapt
    from .objective import Preference

    workers = _workers(train, threads)
    # This thread, too, gets one worker's share: on a busy machine OpenMP waits for a core at every product.
    torch.set_num_threads(max(1, threads // workers))
    model = load_model(folder)
    trained: Trained = (
        whole.take(model)
        if method.lora is None
        else adapt(
            model,
            rank=method.lora.rank,
            scale=method.lora.scale,
            seed=train.seed,
            targets=method.lora.targets,
        )
    )
    sample = min((one for item in material.found.kept for one in item), key=len)
    step, choice = choose_step(model, trained, sample, train.sequence_tokens, workers, threads)
    if train.preference is not None:
        step.objective = Preference(train.preference.beta)
    return step, trained, choice


def _workers(train: Train, threads: int) -> int:
    return max(1, min(threads, train.batch_tokens // WORKER_TOKENS_MIN))


def _order(train: Train, workers: int, material: Material) -> Order:
    return Order(train.seed, train.batch_tokens, train.sequence_tokens, workers, material.mixture)


def _plan(
    train: Train, step: Step, trained: Trained, material: Material, workspace: Workspace, begun: float
) -> Plan:
    """Choose the precision and turn minutes into tokens, both by measuring; the trial leaves no trace."""
    from . import checkpoint, loop
    from .precision import choose

    workers = _workers(train, workspace.threads)
    order, items = _order(train, workers, material), material.found.kept
    lengths = material.found.lengths
    trial = steps(lengths, order)
    workspace.report("choosing the precision")
    # A step of a third of the size tells as much about the precision.
    small = steps(lengths, Order(train.seed, train.batch_tokens // 3, train.sequence_tokens, workers))
    third = loop.batch(items, next(small))
    precision = choose(train.precision, step, third)
    choices = [precision]
    timed = time.perf_counter()
    step.forward_backward(third)
    every = max(1, round(checkpoint.EVERY_S / 3 / (time.perf_counter() - timed)))
    if train.budget.tokens is not None:
        wanted = train.budget.tokens
    else:
        minutes = train.budget.minutes or 0.0
        workspace.report("measuring the speed")
        before = trained.flat.clone()
        run = loop.Run(step, trained.flat, items, order, 1 << 30, 0, train, workspace.state, workspace.report)
        adamw = loop.optimizer(trained.flat, train)

        def once(_: int) -> int:
            packed = loop.batch(items, next(trial))
            try:
                loop.update(run, adamw, 0, packed)
            except loop.Spoilt as spoilt:
                raise loop.hopeless(run, spoilt, 0) from None
            return sum(row.tokens for row in packed)

        speed = budget.measure(once, minutes)
        trained.flat.copy_(before)
        wanted = budget.tokens(minutes, speed, time.perf_counter() - begun)
        why = f"{minutes:g} minutes at {speed.tokens_per_s:.0f} tokens/s, measured over {speed.seconds:.0f} s"
        choices.append(Choice("train.budget_tokens", str(wanted), why))
    count, tokens = plan(lengths, order, wanted)
    choices.append(
        Choice(
            "train.workers", str(workers), f"{workspace.threads} threads, {train.batch_tokens} tokens a step"
        )
    )
    told = tuple((choice.name, choice.value, choice.why) for choice in choices)
    return Plan(precision.value, train.seed, tokens, count, workers, every, told)


def _train(
    made: Plan,
    train: Train,
    step: Step,
    trained: Trained,
    material: Material,
    workspace: Workspace,
    tps_at_roof: float | None,
) -> Progress:
    from . import loop, reference

    items: Sequence[Item] = material.found.kept
    if train.preference is not None:
        items = reference.measured(step, items, workspace.report)
    return loop.train(
        loop.Run(
            step,
            trained.flat,
            items,
            _order(train, made.workers, material),
            made.steps,
            made.tokens,
            train,
            workspace.state,
            workspace.report,
            made.every,
            tps_at_roof,
        )
    )


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


def _facts(progress: Progress, trained: Trained, base: Path, unit: str) -> dict[str, Fact]:
    from .weights import safetensors_header

    tenth = max(1, len(progress.losses) // 10)
    whole = sum(math.prod(stored.shape) for stored in safetensors_header(base / "model.safetensors").values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
    return {
        "train.tokens": Fact(float(progress.tokens), "tokens", n=len(progress.losses)),
        "train.tps": Fact(progress.tokens / progress.seconds, "tokens/s", n=len(progress.losses)),
        "train.loss_first": Fact(statistics.fmean(progress.losses[:tenth]), unit, n=tenth),
        "train.loss_last": Fact(statistics.fmean(progress.losses[-tenth:]), unit, n=tenth),
        "train.memory_peak_gib": Fact(peak, "GiB"),
        "train.parameters": Fact(float(trained.flat.numel()), "parameters"),
        "model.parameters": Fact(float(whole), "parameters"),
    }
