"""THE training loop. What is trained and how its gradient is made is decided elsewhere."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import TrainingError
from . import checkpoint
from .checkpoint import Progress
from .packing import Order, Rows, steps
from .row import Row, pack
from .samples import Sample
from .schedule import rate
from .settings import Train
from .step import Step

REPORT_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Run:
    """All that the loop needs. `flat` holds the trained weights, `total` steps make up the run."""

    step: Step
    flat: Tensor
    samples: Sequence[Sample]
    order: Order
    total: int
    tokens: int
    train: Train
    state: Path
    report: Callable[..., None]

    @property
    def lengths(self) -> list[int]:
        return [len(sample) for sample in self.samples]


def batch(samples: Sequence[Sample], rows: Rows) -> list[Row]:
    """The rows of one step as tensors."""
    return [pack([samples[number] for number in row]) for row in rows]


def optimizer(flat: Tensor, train: Train) -> torch.optim.AdamW:
    """AdamW over one flat tensor, so that a step is a single fused pass."""
    return torch.optim.AdamW(
        [nn.Parameter(flat, requires_grad=True)],
        lr=train.learning_rate,
        weight_decay=train.weight_decay,
        fused=True,
    )


def update(run: Run, adamw: torch.optim.AdamW, number: int, rows: Sequence[Row]) -> float:
    """One optimizer step; the mean loss (nats per label). Raises TrainingError when it is no number."""
    group = adamw.param_groups[0]
    group["lr"] = rate(number, run.total, peak=run.train.learning_rate, warmup=run.train.warmup)
    result = run.step.forward_backward(rows)
    loss = result.loss / result.labels
    gradient = run.step.gradient.div_(result.labels)
    norm = float(torch.linalg.vector_norm(gradient))
    if not (math.isfinite(loss) and math.isfinite(norm)):
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"
        raise TrainingError(
            f"at step {number + 1} of {run.total}, {what} (learning rate {group['lr']:.2g})",
            where="train.learning_rate",
            try_=f"a lower rate: learning_rate: {run.train.learning_rate / 4:.2g}",
        )
    if norm > run.train.clip:
        gradient.mul_(run.train.clip / norm)
    group["params"][0].grad = gradient
    adamw.step()
    return loss


def train(run: Run) -> Progress:
    """Train to the end of the budget, from the last checkpoint if there is one."""
    adamw = optimizer(run.flat, run.train)
    progress = checkpoint.load(run.state, run.flat, adamw)
    plan = itertools.islice(steps(run.lengths, run.order), progress.step, run.total)
    reported = saved = time.perf_counter()
    for number, rows in enumerate(plan, progress.step):
        begun = time.perf_counter()
        packed = batch(run.samples, rows)
        loss = update(run, adamw, number, packed)
        now = time.perf_counter()
        progress.step = number + 1
        progress.tokens += sum(row.tokens for row in packed)
        progress.seconds += now - begun
        progress.losses.append(loss)
        progress.token_counts.append(progress.tokens)
        if now - reported >= REPORT_EVERY_S or progress.step == run.total:
            reported = now
            _tell(run, progress)
        if now - saved >= checkpoint.EVERY_S or progress.step == run.total:
            checkpoint.save(run.state, run.flat, adamw, progress)
            saved = time.perf_counter()
    return progress


def _tell(run: Run, progress: Progress) -> None:
    speed = progress.tokens / max(progress.seconds, 1e-9)
    run.report(
        "tuning",
        done=progress.tokens,
        total=run.tokens,
        loss=progress.losses[-1],
        tps=speed,
        left_s=max(0.0, (run.tokens - progress.tokens) / speed),
    )
