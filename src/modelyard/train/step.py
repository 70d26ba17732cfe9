"""What the training loop asks of a step, and the step that autograd computes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import TrainingError
from .attention import NAME
from .head import Head, label_loss
from .lora import Adapters
from .row import Row, pack
from .samples import Sample


@dataclass(frozen=True, slots=True)
class Result:
    """Of one batch: the summed loss (nats) and over how many labels."""

    loss: float
    labels: int


class Step(Protocol):
    """Loss and gradient of a batch."""

    name: str
    gradient: Tensor
    """The gradient of the summed loss, one flat float32 tensor laid out like Adapters.flat."""

    def forward_backward(self, batch: Sequence[Row]) -> Result:
        """Overwrite `gradient` with the gradient of the batch's summed loss."""

    def loss(self, row: Row) -> float:
        """Summed loss (nats) of a row."""

    def weights(self) -> list[Tensor]:
        """The frozen weights of all products, in float32 until others are used."""

    def use(self, weights: Sequence[Tensor]) -> None:
        """Compute the products with `weights`, in their type; all else stays in float32."""

    def close(self) -> None:
        """End its threads."""


def hold(step: Step, precision: torch.dtype) -> None:
    """Have the products computed in `precision`."""
    step.use([weight.to(precision) for weight in step.weights()])


class Workers(ABC):
    """Threads that each take whole rows. Row i goes to worker i modulo their number, and their gradients are
    added in their order: the result depends on the number of workers and threads, not on who is first.
    """

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
    def row(self, row: Row, worker: int) -> float:
        """Add a row's gradient to the worker's part; its summed loss (nats)."""

    def forward_backward(self, batch: Sequence[Row]) -> Result:
        """Overwrite `gradient` with the gradient of the batch's summed loss."""
        self.prepare()
        workers = range(len(self.parts))
        shares = [batch[number :: len(self.parts)] for number in workers]
        run = map if self._pool is None else self._pool.map
        losses = list(run(self._rows, shares, workers))
        for part in self.parts[1:]:
            self.gradient.add_(part)
        return Result(sum(losses), sum(len(row.labels) for row in batch))

    def _rows(self, rows: Sequence[Row], worker: int) -> float:
        self.parts[worker].zero_()
        return sum(self.row(row, worker) for row in rows)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


class AutogradStep(Workers):
    """Any decoder of transformers, by autograd."""

    name = "autograd"

    def __init__(self, model: Any, adapters: Adapters, *, workers: int, threads: int) -> None:
        super().__init__(adapters.flat, workers=workers, threads=threads)
        self._decoder = model.get_decoder()
        head = model.get_output_embeddings()
        self._head = Head(head.weight, getattr(head, "bias", None))
        self._adapters = adapters
        self._parameters = adapters.parameters()

    def weights(self) -> list[Tensor]:
        """The frozen weights of the linear layers and, last, of the head."""
        return [*(layer.weight.data for layer in self._adapters.layers.values()), self._head.weight]

    def use(self, weights: Sequence[Tensor]) -> None:
        """Compute the products of the linear layers and the head with `weights`, in their type."""
        for layer, weight in zip(self._adapters.layers.values(), weights, strict=False):
            layer.weight.data = weight
        self._head.weight = weights[-1]

    def row(self, row: Row, worker: int) -> float:
        """Add a row's gradient to the worker's part; its summed loss (nats)."""
        value = self._loss(row)
        gradients = torch.autograd.grad(value, self._parameters)
        into, at = self.parts[worker], 0
        for gradient in gradients:
            into[at : at + gradient.numel()].add_(gradient.reshape(-1))
            at += gradient.numel()
        return value.item()

    def loss(self, row: Row) -> float:
        """Summed loss (nats) of a row."""
        with torch.no_grad():
            return self._loss(row).item()

    def _loss(self, row: Row) -> Tensor:
        out = self._decoder(input_ids=row.ids, position_ids=row.positions, use_cache=False, layout=row.layout)
        hidden = out.last_hidden_state[0].index_select(0, row.before)
        return label_loss(hidden, self._head, row.labels)


def check_packing(step: Step, model: Any, sample: Sample) -> None:
    """Raises TrainingError unless the packed loss of `sample` is what the model's own forward pass gives.

    Guards against architectures with an attention or a head that the packed step does not know.
    """
    with torch.no_grad():
        ours = step.loss(pack([sample, sample])) / 2
        model.set_attn_implementation("eager")
        logits = model(torch.tensor([sample.ids]), use_cache=False).logits[0]
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
