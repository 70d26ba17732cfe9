"""Loss and gradient of decoders of Llama's family without autograd: what is kept is chosen, not recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..head import Head
from ..lora import Adapters
from ..row import Row
from ..step import Workers
from . import norm
from .attention import Heads
from .layer import Kept, Layer
from .projection import Projection, Views
from .rope import Angles, Places

# Llama and those that differ from it in biases, or norms of heads, only.
FAMILY = ("llama", "mistral", "qwen2", "qwen3")
FIXED_ROPE = ("default", "linear", "llama3", "yarn")  # whose frequencies do not depend on the row
GROUPS = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "o": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}


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


class ExplicitStep(Workers):
    """The gradients of the adapters of a frozen decoder; see `Workers` for who computes what."""

    name = "explicit"

    def __init__(self, model: Any, adapters: Adapters, *, workers: int, threads: int) -> None:
        super().__init__(adapters.flat, workers=workers, threads=threads)
        decoder, head = model.get_decoder(), model.get_output_embeddings()
        # Copies: what the model has may be a map of its whole file, which would stay in memory.
        self._embedding: Tensor = decoder.embed_tokens.weight.detach().clone()
        tied = head.weight is decoder.embed_tokens.weight
        weight = self._embedding if tied else head.weight.detach().clone()
        self._head = Head(weight, getattr(head, "bias", None))
        self._norm: Tensor = decoder.norm.weight.detach().clone()
        self._frequencies: Tensor = decoder.rotary_emb.inv_freq.detach()
        self._turned_scale = float(decoder.rotary_emb.attention_scaling)
        self._eps = float(model.config.rms_norm_eps)
        self._layers = [
            _layer(layer, self._eps, adapters.scale, model.config, first=not number)
            for number, layer in enumerate(decoder.layers)
        ]
        self._scores_scale = float(decoder.layers[0].self_attn.scaling)
        self._views = [_views(adapters, part, len(self._layers)) for part in self.parts]
        self.use(self.weights())

    def weights(self) -> list[Tensor]:
        """The frozen weights of the projections and, last, of the head."""
        return [*(projection.weight for projection in self._projections()), self._head.weight]

    def use(self, weights: Sequence[Tensor]) -> None:
        """Compute the products with `weights`, in their type."""
        for projection, weight in zip(self._projections(), weights, strict=False):
            projection.use(weight)
        self._head.weight = weights[-1]

    def prepare(self) -> None:
        """Take in what the optimizer did to the adapters."""
        with torch.no_grad():
            for projection in self._projections():
                projection.fold()

    def row(self, row: Row, worker: int) -> float:
        """Add a row's gradient to the worker's part; its summed loss (nats)."""
        places = self._places(row)
        with torch.no_grad():
            x, kept = self._up(row, places)
            loss, dx = self._label_loss(x, row)
            for layer, views in zip(reversed(self._layers), reversed(self._views[worker]), strict=True):
                dx = layer.backward(dx, places, row.layout, kept.pop(), views)
        return loss

    def loss(self, row: Row) -> float:
        """Summed loss (nats) of a row."""
        with torch.no_grad():
            self.prepare()
            x, _ = self._up(row, self._places(row))
            return self._label_loss(x, row)[0]

    def _places(self, row: Row) -> Places:
        positions, turned = row.positions[0], self._turned_scale
        scales = (turned * self._scores_scale, turned)
        return Angles(positions, self._frequencies, scales[0]), Angles(
            positions, self._frequencies, scales[1]
        )

    def _up(self, row: Row, places: Places) -> tuple[Tensor, list[Kept]]:
        x = self._embedding.index_select(0, row.ids[0])
        kept = []
        for layer in self._layers:
            x, one = layer.forward(x, places, row.layout)
            kept.append(one)
        return x, kept

    def _label_loss(self, x: Tensor, row: Row) -> tuple[float, Tensor]:
        """The summed loss (nats), and its gradient for all places [T, D]: zero where no label follows."""
        hidden, inverse = norm.forward(x.index_select(0, row.before), self._eps)
        loss, dhidden = self._head.loss_and_gradient(hidden * self._norm, row.labels)
        dx = torch.zeros_like(x)
        dx[row.before] = norm.backward(dhidden * self._norm, hidden, inverse)
        return loss, dx

    def _projections(self) -> Iterator[Projection]:
        for layer in self._layers:
            yield from (layer.qkv, layer.o, layer.gate_up, layer.down)


def _layer(module: Any, eps: float, scale: float, config: Any, *, first: bool) -> Layer:
    before = {
        "qkv": module.input_layernorm.weight.detach().clone(),
        "gate_up": module.post_attention_layernorm.weight.detach().clone(),
    }
    made = {
        group: Projection([module.get_submodule(name) for name in names], before.get(group), scale)
        for group, names in GROUPS.items()
    }
    attention = module.self_attn
    norms = [getattr(attention, name, None) for name in ("q_norm", "k_norm")]
    return Layer(
        **made,
        heads=Heads(config.num_attention_heads, config.num_key_value_heads, attention.head_dim),
        eps=eps,
        head_norms=tuple(one.weight.detach().clone() for one in norms if one is not None),
        first=first,
    )


def _views(adapters: Adapters, flat: Tensor, count: int) -> list[dict[str, Views]]:
    """Of each layer, where in `flat` the gradients of its projections' adapters lie."""
    found = adapters.views(flat)
    prefix = next(iter(found)).partition("layers.")[0] + "layers."
    return [
        {
            group: Views(*zip(*(found[f"{prefix}{number}.{name}"] for name in names), strict=True))
            for group, names in GROUPS.items()
        }
        for number in range(count)
    ]
