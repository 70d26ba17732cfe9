"""What each layer, each channel of an MLP and each group of heads does to a model, measured on text.

Depth: block influence, 1 - the mean cosine of the hidden state before and after a layer (ShortGPT,
arXiv:2403.03853). Width: how much of a layer's output goes through a channel or a group, by activations
(Minitron, arXiv:2407.14679), weighted by what reads them (Wanda, arXiv:2306.11695): the mean square of what
the output would lack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import SourceError
from .architecture import Architecture
from .calibration import Text


@dataclass(frozen=True, slots=True)
class Kept:
    """What stays of a model: its layers by number, and of each its channels and groups (absent: all)."""

    layers: tuple[int, ...]
    channels: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    groups: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


class Probe:
    """A model in memory, in float32, that can be run without what is not kept of it."""

    def __init__(self, folder: Path, shape: Architecture) -> None:
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            model: Any = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False
            )
        except (ValueError, OSError, RuntimeError) as error:
            raise SourceError(
                f"the model cannot be loaded: {str(error).splitlines()[0][:200]}", where=str(folder)
            ) from None
        model.eval().requires_grad_(False)
        self._decoder, self._head = model.model, model.lm_head
        self._layers: tuple[Any, ...] = tuple(self._decoder.layers)
        self._shape = shape

    def losses(self, texts: Sequence[Text], kept: Kept) -> list[float]:
        """The summed loss (nats) of each text's labels."""
        found = []
        with self._only(kept):
            for text, hidden in self._hidden(texts):
                at = torch.tensor(text.learn).nonzero()[:, 0]
                logits = self._head(hidden[at - 1])
                labels = torch.tensor(text.ids)[at]
                found.append(float(functional.cross_entropy(logits, labels, reduction="sum")))
        return found

    def influence(self, texts: Sequence[Text], kept: Kept) -> dict[int, float]:
        """Of each kept layer 1 - the mean cosine of a token's hidden state before and after it."""
        total = dict.fromkeys(kept.layers, 0.0)
        tokens = sum(len(text.ids) for text in texts)

        def see(layer: int) -> Callable[..., None]:
            def after(_: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
                out = output[0] if isinstance(output, tuple) else output
                total[layer] += float((1 - functional.cosine_similarity(inputs[0], out, dim=-1)).sum())

            return after

        with self._only(kept), ExitStack() as stack:
            for layer in kept.layers:
                hook = self._layers[layer].register_forward_hook(see(layer))
                stack.callback(hook.remove)
            for _ in self._hidden(texts):
                pass
        return {layer: sum_ / tokens for layer, sum_ in total.items()}

    def channels(self, texts: Sequence[Text], kept: Kept) -> dict[int, Tensor]:
        """Of each kept layer the mean square of what each channel adds to the output, [I]."""
        return self._through(texts, kept, "mlp.down_proj", self._shape.intermediate)

    def groups(self, texts: Sequence[Text], kept: Kept) -> dict[int, Tensor]:
        """Of each kept layer the mean square of what each group of heads adds to the output, [G]."""
        return self._through(texts, kept, "self_attn.o_proj", self._shape.kv_heads)

    def channel_norms(self, layer: int) -> Tensor:
        """The size of the weights of each channel of a layer: its rows of gate and up, its column of down."""
        mlp = self._layers[layer].mlp
        parts = (mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight.t())
        return _norms(*(part.detach() for part in parts))

    def group_norms(self, layer: int) -> Tensor:
        """The size of the weights of each group of a layer: its rows of q, k and v, its columns of o."""
        attention, groups = self._layers[layer].self_attn, self._shape.kv_heads
        parts = (attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight)
        rows = (*parts, attention.o_proj.weight.t())
        return _norms(*(part.detach().reshape(groups, -1) for part in rows))

    def _through(self, texts: Sequence[Text], kept: Kept, name: str, parts: int) -> dict[int, Tensor]:
        tokens = sum(len(text.ids) for text in texts)
        total = {layer: torch.zeros(parts, dtype=torch.float64) for layer in kept.layers}

        def see(layer: int) -> Callable[..., None]:
            def before(module: Any, inputs: tuple[Tensor, ...]) -> None:
                seen = inputs[0][0].view(len(inputs[0][0]), parts, -1)  # tokens, parts, numbers of a part
                if seen.shape[2] == 1:
                    total[layer] += seen[:, :, 0].double().square().sum(0)
                    return
                weight = module.weight.view(len(module.weight), parts, -1)
                for part in range(parts):
                    total[layer][part] += float((seen[:, part] @ weight[:, part].t()).square().sum())

            return before

        with self._only(kept), ExitStack() as stack:
            for layer in kept.layers:
                hook = self._layers[layer].get_submodule(name).register_forward_pre_hook(see(layer))
                stack.callback(hook.remove)
            for _ in self._hidden(texts):
                pass
        if parts == self._shape.intermediate:
            for layer, sums in total.items():
                sums *= self._layers[layer].mlp.down_proj.weight.detach().double().square().sum(0)
        return {layer: sums / tokens for layer, sums in total.items()}

    def _hidden(self, texts: Sequence[Text]) -> Iterator[tuple[Text, Tensor]]:
        for text in texts:
            with torch.inference_mode():
                out = self._decoder(input_ids=torch.tensor([text.ids]), use_cache=False)
            yield text, out.last_hidden_state[0]

    @contextmanager
    def _only(self, kept: Kept) -> Iterator[None]:
        """Run without the layers, channels and groups that are not kept: what is left out adds nothing."""
        heads = self._shape.heads // self._shape.kv_heads * self._shape.head_dim
        with ExitStack() as stack:
            self._decoder.layers = nn.ModuleList(self._layers[layer] for layer in kept.layers)
            stack.callback(setattr, self._decoder, "layers", nn.ModuleList(self._layers))
            for layer in kept.layers:
                for name, stays, count, width in (
                    ("mlp.down_proj", kept.channels.get(layer), self._shape.intermediate, 1),
                    ("self_attn.o_proj", kept.groups.get(layer), self._shape.kv_heads, heads),
                ):
                    if stays is not None:
                        mask = torch.zeros(count).index_fill(0, torch.tensor(stays), 1.0)
                        module = self._layers[layer].get_submodule(name)
                        hook = module.register_forward_pre_hook(_masked(mask.repeat_interleave(width)))
                        stack.callback(hook.remove)
            yield


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _masked(mask: Tensor) -> Callable[..., tuple[Tensor]]:
    return lambda _, inputs: (inputs[0] * mask,)


def _norms(*parts: Tensor) -> Tensor:
    """Of each row the norm of all parts together."""
    return torch.stack([part.double().square().sum(1) for part in parts]).sum(0).sqrt()
