"""What the training loop asks of a step, and the step that autograd computes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import TrainingError
from .attention import NAME
from .head import label_loss
from .lora import Adapters
from .row import Row, pack
from .samples import Sample


@dataclass(frozen=True, slots=True)
class Result:
    """Of one batch: the summed loss (nats) and over how many labels."""

    loss: float
    labels: int


class Step(Protocol):
    """Loss and gradient of a batch. An explicit, faster one may stand in for the one below."""

    name: str
    gradient: Tensor
    """The gradient of the summed loss, one flat float32 tensor laid out like Adapters.flat."""

    def forward_backward(self, batch: Sequence[Row]) -> Result:
        """Overwrite `gradient` with the gradient of the batch's summed loss."""

    def close(self) -> None:
        """End its threads."""


class AutogradStep:
    """Any decoder of transformers, by autograd; each worker thread takes whole rows.

    Row i goes to worker i modulo `workers`, and the workers' gradients are added in their order: the result
    depends on the number of workers and threads, not on who finishes first.
    """

    name = "autograd"

    def __init__(self, model: Any, adapters: Adapters, *, workers: int, threads: int) -> None:
        self._decoder = model.get_decoder()
        head = model.get_output_embeddings()
        self._head: Tensor = head.weight
        self._head_bias: Tensor | None = getattr(head, "bias", None)
        self._adapters = adapters
        self._parameters = adapters.parameters()
        self._parts = [torch.zeros_like(adapters.flat) for _ in range(workers)]
        self.gradient = self._parts[0]
        self._pool: ThreadPoolExecutor | None = None
        if workers > 1:
            # One thread a worker beats OpenMP over all cores: no wait for the slowest core at every product.
            each = max(1, threads // workers)
            self._pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(each,))

    def weights(self) -> list[Tensor]:
        """The frozen weights of the linear layers and, last, of the head."""
        return [*(layer.weight.data for layer in self._adapters.layers.values()), self._head.detach()]

    def use(self, weights: Sequence[Tensor]) -> None:
        """Compute the products of the linear layers and the head with `weights`, in their type."""
        for layer, weight in zip(self._adapters.layers.values(), weights, strict=False):
            layer.weight.data = weight
        self._head = weights[-1]

    def hold(self, precision: torch.dtype) -> None:
        """Compute these products in `precision`; adapters, norms, residuals and loss stay in float32."""
        self.use([weight.to(precision) for weight in self.weights()])

    def forward_backward(self, batch: Sequence[Row]) -> Result:
        shares = [batch[number :: len(self._parts)] for number in range(len(self._parts))]
        if self._pool is None:
            losses = [self._rows(shares[0], self._parts[0])]
        else:
            losses = list(self._pool.map(self._rows, shares, self._parts))
        for part in self._parts[1:]:
            self.gradient.add_(part)
        return Result(sum(losses), sum(len(row.labels) for row in batch))

    def _rows(self, rows: Sequence[Row], into: Tensor) -> float:
        into.zero_()
        loss = 0.0
        for row in rows:
            value = self.loss(row)
            gradients = torch.autograd.grad(value, self._parameters)
            at = 0
            for gradient in gradients:
                into[at : at + gradient.numel()].add_(gradient.reshape(-1))
                at += gradient.numel()
            loss += value.item()
        return loss

    def loss(self, row: Row) -> Tensor:
        """Summed loss (nats) of a row; only its label rows go through the head."""
        out = self._decoder(input_ids=row.ids, position_ids=row.positions, use_cache=False, layout=row.layout)
        hidden = out.last_hidden_state[0].index_select(0, row.before)
        return label_loss(hidden, self._head, self._head_bias, row.labels)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()


def check_packing(step: AutogradStep, model: Any, sample: Sample) -> None:
    """Raises TrainingError unless the packed loss of `sample` is what the model's own forward pass gives.

    Guards against architectures with an attention or a head that the packed step does not know.
    """
    with torch.no_grad():
        ours = step.loss(pack([sample, sample])).item() / 2
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
