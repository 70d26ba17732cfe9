"""What one process does of a run: load, plan, train, and ask before and after. Alone, or one of several."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import TrainingError
from ..records.shapes import Choice, Fact, Output
from . import allocator, budget, seen, taken
from .budget import Plan
from .device import ROW_TOKENS, choose_device
from .device import facts as device_facts
from .fit import Cut, fit
from .material import Material
from .packing import Order, plan, steps, workers
from .samples import length
from .settings import Train, TuneSettings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .checkpoint import Progress
    from .parallel.place import Place
    from .step import Step
    from .trained import Trained


@dataclass(frozen=True, slots=True)
class Job:
    """All that a process needs to know. `threads` are its own; `began`: when the run did, by time.time()."""

    settings: TuneSettings
    corpus: Path
    base: Path
    teacher: Path | None
    state: Path
    out: Path
    threads: int
    began: float

    @property
    def train(self) -> Train:
        """The settings of training itself."""
        return self.settings.train


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a run."""

    progress: Progress
    facts: dict[str, Fact]
    choices: tuple[Choice, ...]
    unit: str
    peak_gib: float


def train_here(
    job: Job, material: Material, report: Callable[..., None], place: Place | None = None
) -> tuple[Ran | Output, Trained | None]:
    """This process's part of a run, from its last checkpoint to its end, and what it has learned.

    An Output stands for a search's trial that fell apart, and None for what no process has whole.
    """
    train = job.train
    made = budget.load(job.state)
    device, told = choose_device(train)
    cut, fitted = (made.cut, []) if made is not None else _fit(job, material, place, device)
    report("loading the model")
    model, whole = load_trained(job, device)
    step, choice = _step(job, model, whole, material, cut, place)
    trained: Trained | None = whole
    flat, named = whole.flat, whole.named
    if hasattr(step, "flat"):
        flat, named, trained = step.flat, step.state, None
    words = model.get_output_embeddings().out_features
    del model, whole
    allocator.give_back()
    choices = [choice] if told is None else [told, choice]
    try:
        if job.teacher is not None and train.distil is not None:
            from .load import load_teacher

            step.teacher = load_teacher(job.teacher, train.distil, words, device)
        if made is None:
            made = _plan(job, step, flat, named, material, cut, report, place)
            made = replace(made, choices=(*((one.name, one.value, one.why) for one in fitted), *made.choices))
            if place is None or place.first:
                budget.save(made, job.state)
        else:
            from .precision import set_precision

            set_precision(step, made.precision)
        choices += [Choice(*choice) for choice in made.choices]
        items = material.found.kept
        view = seen.begin(step, job, made, items, report, place)
        from . import loop, reference

        order = _order(train, made.cut, made.rows, material)
        if train.preference is not None:
            rows = islice(steps(material.found.lengths, order), made.steps)
            taken_up = chain.from_iterable(chain.from_iterable(rows))
            items = tuple(reference.measured(step, items, taken_up, job.state, report, place))
        run = loop.Run(
            step,
            flat,
            items,
            order,
            made.steps,
            made.tokens,
            train,
            job.state,
            report,
            made.every,
            named,
            place is not None,
            view.tps_at_roof,
        )
        try:
            progress = loop.train(run)
        except TrainingError as apart:
            if not job.settings.of_search:
                raise
            return taken.fallen(apart, made, view, choices), trained
        facts = seen.end(view, step, progress, job.out if place is None or place.first else None)
        facts |= device_facts(device)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
        peak = peak if place is None else place.most(peak)
        return Ran(progress, facts, tuple(choices), step.objective.unit, peak), trained
    finally:
        step.close()


def load_trained(job: Job, device: torch.device | str = "cpu") -> tuple[Any, Trained]:
    """The base in memory, and what of it the method trains, as it is before the first step."""
    from . import whole
    from .load import load_model
    from .lora import adapt

    model, method = load_model(job.base, device), job.train.method
    assert method is not None
    if method.lora is None:
        return model, whole.take(model)
    lora = method.lora
    adapters = adapt(model, rank=lora.rank, scale=lora.scale, seed=job.train.seed, targets=lora.targets)
    return model, adapters


def _fit(job: Job, material: Material, place: Place | None, device: torch.device) -> tuple[Cut, list[Choice]]:
    """How the run is cut. Of a model that several processes share, this process holds too little to ask."""
    train = job.train
    if device.type == "cuda":
        together = min(train.batch_tokens, ROW_TOKENS)
        return Cut(max(train.sequence_tokens, together), 1, recompute=False), []
    copies = 1 if place is None else place.copies
    count = workers(material.found.lengths, train.batch_tokens // copies, job.threads)
    asked = Cut(train.sequence_tokens, count, recompute=False)
    from .explicit.step import FAMILY

    assert train.method is not None
    lora, config = train.method.lora, _config(job.base)
    # Of autograd's step, which keeps more, nothing is foretold.
    by_autograd = config.get("model_type") not in FAMILY or (lora is not None and lora.targets is not None)
    if place is not None or by_autograd:
        return asked, []
    return fit(
        config,
        asked,
        rank=lora.rank if lora is not None else None,
        longest=max(material.found.lengths),
        teacher=_config(job.teacher) if job.teacher is not None else None,
    )


def _config(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    return found


def _step(
    job: Job, model: Any, trained: Trained, material: Material, cut: Cut, place: Place | None
) -> tuple[Any, Choice]:
    import torch

    from .choose_step import choose_step
    from .explicit.step import ExplicitStep
    from .objective import Preference

    train, workers = job.train, cut.workers
    # This thread, too, gets one worker's share: on a busy machine OpenMP waits for a core at every product.
    torch.set_num_threads(max(1, job.threads // workers))
    sample = min((one for item in material.found.kept for one in item), key=len)
    longest = train.sequence_tokens
    step: Any
    if place is None:
        stored = job.base / "model.safetensors"
        step, choice = choose_step(model, trained, sample, longest, workers, job.threads, stored)
    else:
        from .parallel.spread import spread

        step, choice = spread(model, trained, place, sample, longest, workers, job.threads)
    if cut.recompute:
        if not isinstance(step, ExplicitStep):
            raise TrainingError(
                f"this run fits into memory only if its layers are computed twice, and {choice.why}",
                where="train.base",
                try_="a smaller sequence_tokens, a smaller base, or a machine with more memory",
            )
        step.recompute = True
    if train.preference is not None:
        step.objective = Preference(train.preference.beta)
    return step, choice


def _order(train: Train, cut: Cut, rows: int, material: Material) -> Order:
    return Order(train.seed, train.batch_tokens, cut.row_tokens, rows, material.mixture)


def _plan(
    job: Job,
    step: Step,
    flat: Tensor,
    named: Callable[[Tensor], Mapping[str, Tensor]],
    material: Material,
    cut: Cut,
    report: Callable[..., None],
    place: Place | None,
) -> Plan:
    """Choose the precision and turn minutes into tokens, both by measuring; the trial leaves no trace."""
    from . import checkpoint, loop, reference
    from .precision import choose

    train = job.train
    rows = cut.workers if place is None else cut.workers * place.copies
    agree: Callable[[Any], Any] = (lambda told: told) if place is None else place.agree
    order, items = _order(train, cut, rows, material), material.found.kept
    lengths = material.found.lengths
    trial = steps(lengths, order)
    report("choosing the precision")
    # A step of a third of the size tells as much about the precision.
    small = steps(lengths, Order(train.seed, train.batch_tokens // 3, cut.row_tokens, rows))
    third = loop.batch(items, next(small))
    share = min(1.0, sum(row.tokens for row in third) / train.batch_tokens)  # long samples make it more
    precision = choose(train.precision, step, third, agree)
    choices = [precision]
    timed = time.perf_counter()
    step.forward_backward(third)
    step_s = (time.perf_counter() - timed) / share
    run = loop.Run(
        step, flat, items, order, 1 << 30, 0, train, job.state, report, 1, named, place is not None
    )
    every = agree(checkpoint.every(step_s, loop.save_first(run)))
    if train.budget.tokens is not None:
        wanted = train.budget.tokens
    else:
        minutes = train.budget.minutes or 0.0
        report("measuring the speed")
        adamw = loop.optimizer(flat, train)

        def once(_: int) -> int:
            packed = loop.batch(items, next(trial))
            try:
                loop.update(run, adamw, 0, packed)
            except loop.Spoilt as spoilt:
                raise loop.hopeless(run, spoilt, 0) from None
            return sum(row.tokens for row in packed)

        speed = agree(budget.measure(once, minutes, agree))
        loop.load(job.state, named, flat, adamw)  # the checkpoint that the run begins with
        before_s = 0.0  # for each token, when it is taken first
        if train.preference is not None:
            some = [items[number] for row in next(trial) for number in row]
            timed = time.perf_counter()
            reference.ask(step, some)
            before_s = (time.perf_counter() - timed) / sum(map(length, some))
        spent_s = time.time() - job.began
        wanted = agree(budget.tokens(minutes, speed, spent_s, before_s, sum(lengths)))
        why = f"{minutes:g} minutes at {speed.tokens_per_s:.0f} tokens/s, measured over {speed.seconds:.0f} s"
        choices.append(Choice("train.budget_tokens", str(wanted), why))
    count, tokens = plan(lengths, order, wanted)
    choices.append(
        Choice("train.workers", str(rows), f"{job.threads} threads, {train.batch_tokens} tokens a step")
    )
    told = tuple((choice.name, choice.value, choice.why) for choice in choices)
    return Plan(precision.value, train.seed, tokens, count, rows, every, cut, told)
