"""Loss and gradient of decoders of Llama's family without autograd: what is kept is chosen, not recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .. import allocator
from ..head import Head
from ..lora import Adapters
from ..row import Row
from ..step import Workers, row_loss
from ..trained import Trained
from . import norm
from .attention import Heads
from .layer import Kept, Layer, Product
from .projection import Projection
from .rope import Angles, Places
from .whole_projection import WholeProjection

# Llama and those that differ from it in biases, or norms of heads, only.
FAMILY = ("llama", "mistral", "qwen2", "qwen3")
FIXED_ROPE = ("default", "linear", "llama3", "yarn")  # whose frequencies do not depend on the row
GROUPS = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "o": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
NORMS = {"qkv": "input_layernorm", "gate_up": "post_attention_layernorm"}  # what each reads through
HEAD_NORMS = ("q_norm", "k_norm")


def unknown(model: Any, longest: int) -> str:
    """Why this step cannot train `model` on samples of up to `longest` tokens; empty when it can."""
    config = model.config
    if config.model_type not in FAMILY:
        return f"the architecture {config.model_type} is not of Llama's family"
    if config.hidden_act != "silu":
        return f"its activation is {config.hidden_act}"
    rope = model.get_decoder().rotary_emb
    if getattr(rope, "rope_type", "default") not in FIXED_ROPE:
        return f"its positions are of the type {rope.rope_type}"
    if rope.inv_freq.numel() * 2 != model.get_decoder().layers[0].self_attn.head_dim:
        return "its positions turn a part of each head only"
    window = getattr(config, "sliding_window", None)
    if window is not None and window < longest:
        return f"its attention sees {window} tokens"
    return ""


def partly_adapted(trained: Trained, model: Any) -> str:
    """Why this step cannot train the adapters, which have to be on all layers; empty when it can."""
    if not isinstance(trained, Adapters):
        return ""
    every = len(model.get_decoder().layers) * sum(map(len, GROUPS.values()))
    return "" if len(trained.layers) == every else "only some of the layers have adapters"


class ExplicitStep(Workers):
    """The gradients of a decoder's adapters, or of all of it; see `Workers` for who computes what."""

    name = "explicit"
    recompute = False
    """Keep of each layer only what came in, and run it forward once more in the backward pass."""

    def __init__(
        self, model: Any, trained: Trained, *, workers: int, threads: int, take: bool = False
    ) -> None:
        """take: let go of the layers' own frozen weights, one after the other, as they are copied."""
        super().__init__(trained.flat, workers=workers, threads=threads)
        decoder, head = model.get_decoder(), model.get_output_embeddings()
        adapted = isinstance(trained, Adapters)
        # What is frozen is copied: what the model has may be a map of its whole file, which would stay in
        # memory. What is trained is seen as it is.
        own = _copy if adapted else Tensor.detach
        self._embedding = own(decoder.embed_tokens.weight)
        tied = head.weight is decoder.embed_tokens.weight
        self._output = self._embedding if tied else own(head.weight)
        self._head = Head(self._output, getattr(head, "bias", None))
        self._norm = own(decoder.norm.weight)
        self._frequencies: Tensor = decoder.rotary_emb.inv_freq.detach()
        self._turned_scale = float(decoder.rotary_emb.attention_scaling)
        self._eps = float(model.config.rms_norm_eps)
        self._layers = [
            _layer(layer, trained, model.config, first=adapted and not number, take=take)
            for number, layer in enumerate(decoder.layers)
        ]
        self._scores_scale = float(decoder.layers[0].self_attn.scaling)
        self._outer: list[Outer] = []
        for part in self.parts:
            if isinstance(trained, Adapters):
                _learn_adapters(self._layers, trained.views(part))
            else:
                views = trained.named(part)
                of = {parameter: views[name] for name, parameter in model.named_parameters()}
                _learn_all(self._layers, decoder, of)
                outer = (decoder.embed_tokens.weight, head.weight, decoder.norm.weight)
                self._outer.append(Outer(*(of[parameter] for parameter in outer)))
        self.use(self.weights())

    def weights(self) -> list[Tensor]:
        """The weights of the projections and, last, of the head."""
        return [*(projection.weight for projection in self._projections()), self._head.weight]

    def use(self, weights: Sequence[Tensor]) -> None:
        """Compute the products with `weights`, in their type."""
        for projection, weight in zip(self._projections(), weights, strict=False):
            projection.use(weight)
        self._head.weight = weights[-1]

    def prepare(self) -> None:
        """Take in what the optimizer did."""
        run = map if self._pool is None else self._pool.map
        list(run(lambda projection: projection.fold(), self._projections()))
        if self._outer:
            self._head.weight = self._output.to(self._head.weight.dtype)

    def row(self, row: Row, worker: int) -> float:
        """Add a row's gradient to the worker's part; its summed loss (nats)."""
        places = self._places(row)
        outer = self._outer[worker] if self._outer else None
        with torch.no_grad():
            x, kept = self._up(row, places)
            n, inverse = norm.forward(x.index_select(0, row.before), self._eps)
            into = None if outer is None else outer.head
            loss, dhidden = row_loss(self, self._head, n * self._norm, row, into)
            dx = torch.zeros_like(x)  # where no label follows
            dx[row.before] = norm.backward(dhidden * self._norm, n, inverse)
            for layer in reversed(self._layers):
                one = kept.pop()
                if isinstance(one, Tensor):
                    one = layer.forward(one, places, row.layout)[1]
                dx = layer.backward(dx, places, row.layout, one, worker)
            if outer is not None:
                outer.norm.add_((dhidden * n).sum(0))
                outer.embedding.index_add_(0, row.ids[0], dx)
        return loss

    def label_losses(self, row: Row) -> Tensor:
        """The loss (nats) of each label of a row."""
        with torch.no_grad():
            x, _ = self._up(row, self._places(row), keep=False)
            n, _ = norm.forward(x.index_select(0, row.before), self._eps)
            return self._head.losses_and_gradient(n * self._norm, row.labels)[0]

    def _places(self, row: Row) -> Places:
        positions, turned = row.positions[0], self._turned_scale
        scales = (turned * self._scores_scale, turned)
        return Angles(positions, self._frequencies, scales[0]), Angles(
            positions, self._frequencies, scales[1]
        )

    def _up(self, row: Row, places: Places, *, keep: bool = True) -> tuple[Tensor, list[Kept | Tensor]]:
        x = self._embedding.index_select(0, row.ids[0])
        kept: list[Kept | Tensor] = []
        for layer in self._layers:
            out, one = layer.forward(x, places, row.layout)
            if keep:
                kept.append(x if self.recompute else one)
            x = out
        return x, kept

    def _projections(self) -> Iterator[Product]:
        for layer in self._layers:
            yield from layer.products.values()


@dataclass(frozen=True, slots=True)
class Outer:
    """Where a worker's gradients of what lies around the layers go; tied, the first two are one."""

    embedding: Tensor
    head: Tensor
    norm: Tensor


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def _layer(module: Any, trained: Trained, config: Any, *, first: bool, take: bool) -> Layer:
    adapted = isinstance(trained, Adapters)
    own = _copy if adapted else Tensor.detach
    made: dict[str, Product] = {}
    for group, names in GROUPS.items():
        layers = [module.get_submodule(name) for name in names]
        before = own(module.get_submodule(NORMS[group]).weight) if group in NORMS else None
        made[group] = (
            Projection(layers, before, trained.scale)
            if isinstance(trained, Adapters)
            else WholeProjection(layers, before)
        )
        if take and isinstance(trained, Adapters):
            for one in layers:
                one.forget()
            allocator.give_back()  # the next table is larger than what they leave
    attention = module.self_attn
    norms = [getattr(attention, name) for name in HEAD_NORMS if hasattr(attention, name)]
    return Layer(
        made["qkv"],
        made["o"],
        made["gate_up"],
        made["down"],
        heads=Heads(config.num_attention_heads, config.num_key_value_heads, attention.head_dim),
        eps=float(config.rms_norm_eps),
        head_norms=tuple(own(one.weight) for one in norms),
        first=first,
    )


def _learn_adapters(layers: Sequence[Layer], views: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """One more worker, whose gradients of A and B go to `views`."""
    prefix = next(iter(views)).partition("layers.")[0] + "layers."
    for number, layer in enumerate(layers):
        for group, names in GROUPS.items():
            found = [views[f"{prefix}{number}.{name}"] for name in names]
            product = layer.products[group]
            assert isinstance(product, Projection)
            product.learns([a for a, _ in found], [b for _, b in found])


def _learn_all(layers: Sequence[Layer], decoder: Any, of: Mapping[nn.Parameter, Tensor]) -> None:
    """One more worker, whose gradient of each parameter goes where `of` says."""
    for layer, module in zip(layers, decoder.layers, strict=True):
        for group, names in GROUPS.items():
            linear = [module.get_submodule(name) for name in names]
            product = layer.products[group]
            assert isinstance(product, WholeProjection)
            product.learns(
                [of[one.weight] for one in linear],
                [of[one.bias] for one in linear if one.bias is not None],
                of[module.get_submodule(NORMS[group]).weight] if group in NORMS else None,
            )
        norms = [getattr(module.self_attn, name) for name in HEAD_NORMS if hasattr(module.self_attn, name)]
        if norms:
            layer.head_norms_into.append(tuple(of[one.weight] for one in norms))
