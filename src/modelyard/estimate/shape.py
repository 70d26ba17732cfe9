"""The shape of a decoder, as its config.json tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Shape:
    """Layers of width D with H query and K key heads of S numbers, an inner width I, and V words."""

    layers: int
    width: int
    inner: int
    heads: int
    keys: int
    size: int
    words: int
    tied: bool
    normed_heads: bool = False
    """Whether queries and keys have norms of their own (Qwen3)."""
    gated: bool = True
    """Whether the inner streams come from three matrices and not from two."""
    root_mean_square: bool = True
    """Kind of the norms; layer norms otherwise."""
    norms: int = 2
    """Of a layer."""

    @property
    def layer_matrices(self) -> int:
        """Parameters of the matrices of one layer: q, k, v, o, up and down, and gate where there is one."""
        inner = (3 if self.gated else 2) * self.inner
        return self.width * (self.size * 2 * (self.heads + self.keys) + inner)

    @property
    def embedding(self) -> int:
        """Parameters of the embedding, or of the head."""
        return self.words * self.width

    @property
    def embeddings(self) -> int:
        """Parameters of the embedding and the head, once where they are tied."""
        return self.embedding * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """All matrices; norms and biases, under a thousandth, are left out."""
        return self.layers * self.layer_matrices + self.embeddings


def of_config(config: Mapping[str, Any]) -> Shape | None:
    """The shape that a config.json tells; None where it tells no such decoder."""
    try:
        heads = int(config["num_attention_heads"])
        width = int(config["hidden_size"])
        return Shape(
            layers=int(config["num_hidden_layers"]),
            width=width,
            inner=int(config["intermediate_size"]),
            heads=heads,
            keys=int(config.get("num_key_value_heads") or heads),
            size=int(config.get("head_dim") or width // heads),
            words=int(config["vocab_size"]),
            tied=bool(config.get("tie_word_embeddings")),
            normed_heads=config.get("model_type") == "qwen3",
        )
    except (KeyError, TypeError, ValueError):
        return None


def usual(parameters: float) -> tuple[float, float]:
    """Layers and width that a decoder of this size usually has: 12 L D^2 parameters, D about 128 L.

    Llama's, of 7e9 to 70e9, have 32 to 80 layers; this gives 32 to 71.
    """
    width = (parameters * 128 / 12) ** (1 / 3)
    return width / 128, width
