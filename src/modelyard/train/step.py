"""What the training loop asks of a step, and the step that autograd computes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from ..errors import TrainingError
from .attention import NAME
from .head import Head, head_loss
from .lora import Adapters
from .objective import Labels, Objective
from .row import Row, pack
from .samples import Sample
from .teacher import Teacher, hidden_states
from .trained import Trained

if TYPE_CHECKING:
    from .parallel.place import Place


# Values whose squares are added in one run: over five million of them, float32 lost 2.4e-4 of the norm.
PART = 1 << 16


@dataclass(frozen=True, slots=True)
class Result:
    """Of one batch: the summed loss (nats) and over how many labels, or what else the objective counts."""

    loss: float
    count: int


class Step(Protocol):
    """Loss and gradient of a batch."""

    name: str
    gradient: Tensor
    """The gradient of the summed loss, one flat float32 tensor laid out like Trained.flat."""
    objective: Objective
    teacher: Teacher | None
    scale: float
    """The gradient is computed times this, a power of two, and divided by it at the end."""

    def forward_backward(self, batch: Sequence[Row]) -> Result:
        """Overwrite `gradient` with the gradient of the batch's summed loss."""

    def norm(self) -> float:
        """Of the gradient, all processes' parts of it together."""

    def losses(self, rows: Sequence[Row]) -> list[Tensor]:
        """Of each row the loss (nats) of each of its labels [L], whatever the objective and the teacher."""

    def weights(self) -> list[Tensor]:
        """The weights of all products, in float32 until others are used."""

    def use(self, weights: Sequence[Tensor]) -> None:
        """Compute the products with `weights`, in their type; all else stays in float32.

        Weights that are trained stay what they are; only the type counts.
        """

    def close(self) -> None:
        """End its threads."""


def hold(step: Step, precision: torch.dtype) -> None:
    """Have the products computed in `precision`."""
    step.use([weight.to(precision) for weight in step.weights()])


class Workers(ABC):
    """Threads that each take whole rows. Row i goes to worker i modulo their number, and their gradients are
    added in their order: the result depends on the number of workers and threads, not on who is first.
    """

    objective: Objective = Labels()
    teacher: Teacher | None = None
    scale = 1.0
    place: Place | None = None
    """Among other processes with the same model: each makes the rows of its place."""

    def __init__(self, flat: Tensor, *, workers: int, threads: int) -> None:
        self.parts = [torch.zeros_like(flat) for _ in range(workers)]
        """Each worker's gradient."""
        self.gradient = self.parts[0]
        self._pool: ThreadPoolExecutor | None = None
        if workers > 1:
            # One thread a worker beats OpenMP over all cores: no wait for the slowest core at every product.
            each = max(1, threads // workers)
            self._pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(each,))

    def prepare(self) -> None:  # noqa: B027 (most have nothing to do)
        """What has to be done once before the rows of a batch."""

    @abstractmethod
    def label_losses(self, row: Row) -> Tensor:
        """The loss (nats) of each label of a row [L]."""

    def losses(self, rows: Sequence[Row]) -> list[Tensor]:
        """Of each row the loss (nats) of each of its labels [L], whatever the objective and the teacher."""
        self.prepare()
        run = map if self._pool is None else self._pool.map
        return list(run(self.label_losses, rows))

    @abstractmethod
    def row(self, row: Row, worker: int) -> float:
        """Add a row's gradient to the worker's part; its summed loss (nats)."""

    def forward_backward(self, batch: Sequence[Row]) -> Result:
        """Overwrite `gradient` with the gradient of the batch's summed loss."""
        self.prepare()
        workers = range(len(self.parts))
        whole, batch = batch, batch if self.place is None else self.place.rows(batch)
        shares = [batch[number :: len(self.parts)] for number in workers]
        run = map if self._pool is None else self._pool.map
        losses = list(run(self._rows, shares, workers))
        for part in self.parts[1:]:
            self.gradient.add_(part)
        if self.scale != 1:
            self.gradient.div_(self.scale)
        loss = sum(losses)
        if self.place is not None:
            self.place.add(self.gradient)
            (loss,) = self.place.total([loss])
        return Result(loss, sum(map(self.objective.count, whole)))

    def norm(self) -> float:
        """Of the gradient."""
        whole = len(self.gradient) // PART * PART
        parts = torch.linalg.vector_norm(self.gradient[:whole].view(-1, PART), dim=1)
        rest = torch.linalg.vector_norm(self.gradient[whole:])
        return float(torch.linalg.vector_norm(torch.cat([parts, rest[None]])))

    def _rows(self, rows: Sequence[Row], worker: int) -> float:
        self.parts[worker].zero_()
        return sum(self.row(row, worker) for row in rows)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def row_loss(step: Step, head: Head, hidden: Tensor, row: Row, into: Tensor | None) -> tuple[float, Tensor]:
    """The row's loss (nats), and its gradient for what the head reads at its labels, `hidden` [L, D].

    The gradient of the head's own weight is added to `into`, all labels weighing one.
    """
    taught = None if step.teacher is None else step.teacher.of(row)
    losses, gradient = head.losses_and_gradient(hidden, row.labels, into, taught, step.scale)
    loss, weights = step.objective.weigh(losses, row)
    return loss, gradient.mul_(weights[:, None] * step.scale)


class AutogradStep(Workers):
    """Any decoder of transformers, by autograd."""

    name = "autograd"

    def __init__(self, model: Any, trained: Trained, *, workers: int, threads: int) -> None:
        super().__init__(trained.flat, workers=workers, threads=threads)
        self._decoder = model.get_decoder()
        self._output = model.get_output_embeddings()
        self._head = Head(self._output.weight, getattr(self._output, "bias", None))
        self._layers = list(trained.layers.values()) if isinstance(trained, Adapters) else None
        self._type = self._head.weight.dtype
        self._parameters = trained.parameters()
        self._device = trained.flat.device

    def weights(self) -> list[Tensor]:
        """The frozen weights of the linear layers, if they are frozen, and, last, of the head."""
        return [*(layer.weight.data for layer in self._layers or ()), self._head.weight]

    def use(self, weights: Sequence[Tensor]) -> None:
        """Compute the products of the linear layers and the head with `weights`, in their type."""
        for layer, weight in zip(self._layers or (), weights, strict=False):
            layer.weight.data = weight
        self._head.weight = weights[-1]
        self._type = weights[-1].dtype

    def prepare(self) -> None:
        """Take in what the optimizer did to the head."""
        if self._output.weight.requires_grad:
            self._head.weight = self._output.weight.detach().to(self._type)

    def row(self, row: Row, worker: int) -> float:
        """Add a row's gradient to the worker's part; its summed loss (nats)."""
        learns, row = self._output.weight.requires_grad, row.to(self._device)

        def of(hidden: Tensor, into: Tensor | None) -> tuple[Tensor, Tensor]:
            loss, gradient = row_loss(self, self._head, hidden, row, into)
            return hidden.new_tensor(loss), gradient

        value = head_loss(self._hidden(row), self._output.weight if learns else None, of)
        gradients = torch.autograd.grad(value, self._parameters)
        into, at = self.parts[worker], 0
        for gradient in gradients:
            into[at : at + gradient.numel()].add_(gradient.reshape(-1))
            at += gradient.numel()
        return value.item()

    def label_losses(self, row: Row) -> Tensor:
        """The loss (nats) of each label of a row."""
        row = row.to(self._device)
        with torch.no_grad():
            return self._head.losses_and_gradient(self._hidden(row), row.labels)[0].cpu()

    def _hidden(self, row: Row) -> Tensor:
        """What the head reads at the labels, [L, D]; in narrow types by autocast where all is trained."""
        narrow = self._layers is None and self._type != self._parameters[0].dtype
        if not narrow:
            return hidden_states(self._decoder, row)
        with torch.autocast(self._device.type, dtype=self._type):
            return hidden_states(self._decoder, row).float()


def check_packing(step: Step, model: Any, sample: Sample) -> None:
    """Raises TrainingError unless the packed loss of `sample` is what the model's own forward pass gives.

    Guards against architectures with an attention or a head that the packed step does not know.
    """
    with torch.no_grad():
        ours = float(step.losses([pack([sample, sample])])[0].sum()) / 2
        model.set_attn_implementation("eager")
        logits = model(torch.tensor([sample.ids], device=model.device), use_cache=False).logits[0].cpu()
        model.set_attn_implementation(NAME)
        places = [place for place, learn in enumerate(sample.learn) if learn]
        log_p = torch.log_softmax(logits[[place - 1 for place in places]].float(), -1)
        theirs = -log_p.gather(1, torch.tensor([[sample.ids[place]] for place in places])).sum().item()
    if abs(ours - theirs) > 1e-3 * max(1.0, abs(theirs)):
        raise TrainingError(
            f"the packed step gives a loss of {ours:.4f} where the model itself gives {theirs:.4f}: "
            "it does not know this architecture",
            where="train.base",
            try_="a Llama, Qwen, Mistral or SmolLM model",
        )
