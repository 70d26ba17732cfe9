"""THE training loop. What is trained and how its gradient is made is decided elsewhere."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from ..errors import TrainingError
from . import checkpoint
from .checkpoint import Progress
from .packing import Order, Rows, steps
from .row import Row, pack
from .samples import Item, length
from .schedule import rate
from .settings import Train
from .step import Result, Step

REPORT_EVERY_S = 1.0
SKIPS_MAX = 3  # batches of a run that may be left out
# A loss spoils a step when it is above LEAP times the largest of the last WATCHED and the mean of the first.
WATCHED, LEAP = 32, 3.0


@dataclass(frozen=True, slots=True)
class Run:
    """All that the loop needs. `flat` holds the trained weights, `total` steps make up the run."""

    step: Step
    flat: Tensor
    items: Sequence[Item]
    order: Order
    total: int
    tokens: int
    train: Train
    state: Path
    report: Callable[..., None]
    every: int = 1
    """Steps between two checkpoints."""
    named: Callable[[Tensor], Mapping[str, Tensor]] | None = None
    """Where each trained value lies in a tensor laid out like `flat`, by its name."""
    together: bool = False
    """Whether other processes train with this one; all of them save at once, by names."""
    tps_at_roof: float | None = None
    """Tokens a second at which the products would be as fast as this machine can; None where unmeasured."""

    @property
    def lengths(self) -> list[int]:
        return list(map(length, self.items))


def batch(items: Sequence[Item], rows: Rows) -> list[Row]:
    """The rows of one step as tensors."""
    return [pack([sample for number in row for sample in items[number]]) for row in rows]


def optimizer(flat: Tensor, train: Train) -> torch.optim.AdamW:
    """AdamW over one flat tensor, so that a step is a single fused pass."""
    weights = nn.Parameter(flat, requires_grad=True)
    adamw = torch.optim.AdamW([weights], lr=train.rate, weight_decay=train.weight_decay, fused=True)
    # As the first step would make it: so a checkpoint can be written before it.
    adamw.state[weights] = {
        "step": torch.zeros((), dtype=torch.float32, device=flat.device),
        "exp_avg": torch.zeros_like(flat),
        "exp_avg_sq": torch.zeros_like(flat),
    }
    return adamw


class Spoilt(Exception):
    """A step that must not be taken: `what` went wrong at which learning rate."""

    def __init__(self, number: int, what: str, learning_rate: float) -> None:
        super().__init__(what)
        self.number, self.what, self.rate = number, what, learning_rate


def update(
    run: Run, adamw: torch.optim.AdamW, number: int, rows: Sequence[Row], losses: Sequence[float] = ()
) -> float:
    """One optimizer step after those with `losses`; the mean loss (nats per label or pair).

    Raises Spoilt, the weights unchanged, for a loss that leaps and for what is no number.
    """
    group, told = adamw.param_groups[0], run.train
    group["lr"] = rate(
        number, run.total, peak=told.rate, warmup=told.warmup, shape=told.schedule, losses=losses
    )
    result, norm = _gradient(run.step, rows)
    loss = result.loss / result.count
    if not math.isfinite(loss) or loss > _leap(losses):
        raise Spoilt(number, f"the loss is {loss:.4g}", group["lr"])
    if not math.isfinite(norm):
        raise Spoilt(number, f"the gradient's norm is {norm}", group["lr"])
    if norm > told.clip:
        run.step.gradient.mul_(told.clip / norm)
    group["params"][0].grad = run.step.gradient
    adamw.step()
    return loss


def _gradient(step: Step, rows: Sequence[Row]) -> tuple[Result, float]:
    """The gradient of the mean loss in `step.gradient`, and its norm; scaled less where it overflows."""
    while True:
        result = step.forward_backward(rows)
        step.gradient.div_(result.count)
        norm = step.norm()
        if math.isfinite(norm) or step.scale == 1:
            return result, norm
        step.scale /= 2


def train(run: Run) -> Progress:
    """Train to the end of the budget, from the last checkpoint if there is one.

    A step whose loss or gradient is no number, or whose loss leaps, is not taken: the run goes back to its
    last checkpoint, since the weights may have gone wrong before it showed, and passes that batch over.
    Raises TrainingError when that happens more than SKIPS_MAX times.
    """
    adamw = optimizer(run.flat, run.train)
    progress = _load(run, adamw)
    if not progress.step:
        _save(run, adamw, progress)
    skipped = list(progress.skipped)
    while True:
        try:
            _go_on(run, adamw, progress)
            return progress
        except Spoilt as spoilt:
            if len(skipped) == min(SKIPS_MAX, run.total - 1):  # one step at least is taken
                raise hopeless(run, spoilt, len(skipped)) from None
            skipped.append(spoilt.number)
            progress = _load(run, adamw)
            progress.skipped = list(skipped)


def load(
    state: Path,
    named: Callable[[Tensor], Mapping[str, Tensor]] | None,
    flat: Tensor,
    adamw: torch.optim.AdamW,
    *,
    together: bool = False,
) -> Progress:
    """Put `flat` and `adamw` back to the newest checkpoint in `state`, of one process or of many."""
    if named is not None and (together or (state / "spread.json").is_file()):
        from .parallel import checkpoint as spread

        alone = checkpoint.step_of(state)
        if (state / spread.POINTER).is_file() and spread.step_of(state) >= alone:
            return spread.load(state, named, flat, adamw, together=together)
        if together and alone >= 0:
            return spread.take_over(state, named, flat, adamw)
    return checkpoint.load(state, flat, adamw)


def save_first(run: Run) -> float:
    """Write the checkpoint that the run begins with; the seconds that it took."""
    adamw = optimizer(run.flat, run.train)
    begun = time.perf_counter()
    _save(run, adamw, Progress())
    return time.perf_counter() - begun


def _save(run: Run, adamw: torch.optim.AdamW, progress: Progress) -> None:
    if run.together and run.named is not None:
        from .parallel import checkpoint as spread

        spread.save(run.state, run.named, run.flat, adamw, progress)
    else:
        checkpoint.save(run.state, run.flat, adamw, progress, run.named)


def _load(run: Run, adamw: torch.optim.AdamW) -> Progress:
    """The newest checkpoint, by whichever layout it was written."""
    progress = load(run.state, run.named, run.flat, adamw, together=run.together)
    if progress.scale is None:
        progress.scale = run.step.scale
    run.step.scale = progress.scale
    return progress


def _leap(losses: Sequence[float]) -> float:
    """The loss above which a step is taken to be spoilt: one that only a run that falls apart reaches."""
    if len(losses) < WATCHED:
        return math.inf
    return max(LEAP * max(losses[-WATCHED:]), statistics.fmean(losses[:WATCHED]))


def hopeless(run: Run, spoilt: Spoilt, left_out: int) -> TrainingError:
    """What the user is told when a run cannot go on."""
    lower = run.train.rate / 4
    return TrainingError(
        f"at step {spoilt.number + 1} of {run.total}, {spoilt.what} (learning rate {spoilt.rate:.2g})"
        + f", after {left_out} such steps had been left out",
        where="train.learning_rate",
        try_=f"a lower rate: learning_rate: {lower:.2g}",
    )


def _go_on(run: Run, adamw: torch.optim.AdamW, progress: Progress) -> None:
    plan = itertools.islice(steps(run.lengths, run.order), progress.step, run.total)
    reported = time.perf_counter()
    for number, rows in enumerate(plan, progress.step):
        progress.step = number + 1
        if number not in progress.skipped:
            begun = time.perf_counter()
            packed = batch(run.items, rows)
            loss = update(run, adamw, number, packed, progress.losses)
            progress.tokens += sum(row.tokens for row in packed)
            progress.seconds += time.perf_counter() - begun
            progress.losses.append(loss)
            progress.scale = run.step.scale
            progress.token_counts.append(progress.tokens)
        last = progress.step == run.total
        if last or time.perf_counter() - reported >= REPORT_EVERY_S:
            reported = time.perf_counter()
            _tell(run, progress)
        if last or progress.step % run.every == 0:
            _save(run, adamw, progress)


def _tell(run: Run, progress: Progress) -> None:
    speed = progress.tokens / max(progress.seconds, 1e-9)
    run.report(
        "tuning",
        done=progress.tokens,
        total=run.tokens,
        loss=progress.losses[-1],
        tps=speed,
        left_s=max(0.0, (run.tokens - progress.tokens) / speed),
        roof=None if run.tps_at_roof is None else speed / run.tps_at_roof,
        memory_gib=psutil.Process().memory_info().rss / 2**30,
    )
