"""Step train.tune: a Model and the pairs of a Corpus become a better Model, within a budget."""

from __future__ import annotations

import math
import resource
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import TrainingError, need
from ..prompt import Prompter
from ..records.shapes import Choice, Fact, Inputs, Output, Workspace
from . import allocator, budget, samples
from .budget import Plan
from .packing import Order, plan, steps
from .samples import Samples
from .settings import Lora, Train, TuneSettings

if TYPE_CHECKING:
    from .checkpoint import Progress
    from .lora import Adapters
    from .step import Step

# A worker with fewer tokens than this spends its time in small products.
WORKER_TOKENS_MIN = 400


def run(settings: TuneSettings, inputs: Inputs, workspace: Workspace) -> Output:
    """Tune the record in role `model` on the pairs of the one in role `corpus`.

    Killed and run again in the same workspace, it goes on from its last checkpoint and ends with the same
    bytes (same machine, same number of threads). Raises SourceError, TrainingError or NoRoom.
    """
    begun = time.perf_counter()
    train = settings.train
    if train.method is None:
        raise TrainingError("there is nothing to tune: train.method is null")
    choices = [allocator.tune()]
    need("torch", extra="train", for_="tuning")
    corpus, base = inputs.one("corpus"), inputs.one("model")
    workspace.report("reading pairs")
    config = base.json("config.json")
    found = samples.make(
        Prompter(base.folder),
        samples.read(corpus.folder / "pairs.train.jsonl"),
        longest=train.sequence_tokens,
        vocabulary=config.get("vocab_size") or 1 << 62,
    )
    choices += _dropped(found, train)
    workspace.report("loading the model")
    step, adapters, choice = _load(base.folder, train, train.method.lora, workspace.threads, found)
    choices.append(choice)
    try:
        made = budget.load(workspace.state)
        if made is None:
            made = _plan(train, step, adapters, found, workspace, begun)
            budget.save(made, workspace.state)
        else:
            _resume_precision(made, step)
        progress = _train(made, train, step, adapters, found, workspace)
    finally:
        step.close()
    choices += [Choice(*choice) for choice in made.choices]
    choices += _write(adapters, progress, base.folder, inputs, workspace)
    return Output(_facts(progress, adapters, base.folder), tuple(choices))


def _dropped(found: Samples, train: Train) -> list[Choice]:
    choices = []
    if found.too_long:
        value = f"{found.too_long} pairs left out"
        choices.append(
            Choice("train.too_long", value, f"longer than sequence_tokens: {train.sequence_tokens}")
        )
    if found.empty:
        choices.append(
            Choice("train.empty", f"{found.empty} pairs left out", "their answer has no tokens to learn")
        )
    return choices


def _load(
    folder: Path, train: Train, lora: Lora, threads: int, found: Samples
) -> tuple[Step, Adapters, Choice]:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    from .attention import register
    from .choose_step import choose_step
    from .lora import adapt

    workers = _workers(train, threads)
    # This thread, too, gets one worker's share: on a busy machine OpenMP waits for a core at every product.
    torch.set_num_threads(max(1, threads // workers))
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation=register(),
            local_files_only=True,
            trust_remote_code=False,
        )
    except (ValueError, OSError, RuntimeError) as error:
        raise TrainingError(
            f"transformers cannot load the base: {str(error).splitlines()[0][:200]}",
            where="train.base",
            try_="a Llama, Qwen, Mistral or SmolLM model",
        ) from None
    model.eval()  # no dropout anywhere
    adapters = adapt(model, rank=lora.rank, scale=lora.scale, seed=train.seed)
    sample = min(found.kept, key=len)
    step, choice = choose_step(model, adapters, sample, train.sequence_tokens, workers, threads)
    return step, adapters, choice


def _workers(train: Train, threads: int) -> int:
    return max(1, min(threads, train.batch_tokens // WORKER_TOKENS_MIN))


def _order(train: Train, workers: int) -> Order:
    return Order(train.seed, train.batch_tokens, train.sequence_tokens, workers)


def _resume_precision(made: Plan, step: Step) -> None:
    from .precision import TYPES
    from .step import hold

    hold(step, TYPES[made.precision])


def _plan(
    train: Train, step: Step, adapters: Adapters, found: Samples, workspace: Workspace, begun: float
) -> Plan:
    """Choose the precision and turn minutes into tokens, both by measuring; the trial leaves no trace."""
    from . import checkpoint, loop
    from .precision import choose

    workers = _workers(train, workspace.threads)
    order = _order(train, workers)
    lengths = [len(sample) for sample in found.kept]
    trial = steps(lengths, order)
    workspace.report("choosing the precision")
    # A step of a third of the size tells as much about the precision.
    small = steps(lengths, Order(train.seed, train.batch_tokens // 3, train.sequence_tokens, workers))
    third = loop.batch(found.kept, next(small))
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
        before = adapters.flat.clone()
        run = loop.Run(
            step, adapters.flat, found.kept, order, 1 << 30, 0, train, workspace.state, workspace.report
        )
        adamw = loop.optimizer(adapters.flat, train)

        def once(_: int) -> int:
            packed = loop.batch(found.kept, next(trial))
            try:
                loop.update(run, adamw, 0, packed)
            except loop.Spoilt as spoilt:
                raise loop.hopeless(run, spoilt, 0) from None
            return sum(row.tokens for row in packed)

        speed = budget.measure(once, minutes)
        adapters.flat.copy_(before)
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
    made: Plan, train: Train, step: Step, adapters: Adapters, found: Samples, workspace: Workspace
) -> Progress:
    from . import loop

    order = _order(train, made.workers)
    return loop.train(
        loop.Run(
            step,
            adapters.flat,
            found.kept,
            order,
            made.steps,
            made.tokens,
            train,
            workspace.state,
            workspace.report,
            made.every,
        )
    )


def _write(
    adapters: Adapters, progress: Progress, base: Path, inputs: Inputs, workspace: Workspace
) -> list[Choice]:
    from . import export

    workspace.report("merging the adapter")
    name = inputs.one("model").json("base.json").get("name", "")
    export.write_adapter(adapters, workspace.out / "adapter", name)
    export.write_loss(progress, workspace.out / "loss.json")
    choices = [export.write_merged(adapters, base, workspace.out)]
    if progress.skipped:
        steps = ", ".join(str(number + 1) for number in progress.skipped)
        why = "their loss leapt or was no number; the run went back to its last checkpoint each time"
        choices.append(Choice("train.skipped", f"steps left out: {steps}", why))
    return choices


def _facts(progress: Progress, adapters: Adapters, base: Path) -> dict[str, Fact]:
    from .weights import safetensors_header

    tenth = max(1, len(progress.losses) // 10)
    whole = sum(math.prod(stored.shape) for stored in safetensors_header(base / "model.safetensors").values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
    return {
        "train.tokens": Fact(float(progress.tokens), "tokens", n=len(progress.losses)),
        "train.tps": Fact(progress.tokens / progress.seconds, "tokens/s", n=len(progress.losses)),
        "train.loss_first": Fact(statistics.fmean(progress.losses[:tenth]), "nats/token", n=tenth),
        "train.loss_last": Fact(statistics.fmean(progress.losses[-tenth:]), "nats/token", n=tenth),
        "train.memory_peak_gib": Fact(peak, "GiB"),
        "train.parameters": Fact(float(adapters.flat.numel()), "parameters"),
        "model.parameters": Fact(float(whole), "parameters"),
    }
