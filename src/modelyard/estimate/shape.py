"""The shape of a decoder, and how many parameters it has."""

from __future__ import annotations

from dataclasses import dataclass


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
    idle: int = 0
    """Inner width of the experts that a token does not meet; `inner` is what it meets."""

    @property
    def layer_matrices(self) -> int:
        """Parameters of the matrices of one layer: q, k, v, o, up and down, and gate where there is one."""
        inner = self._between * (self.inner + self.idle)
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

    @property
    def met(self) -> int:
        """Parameters that a token meets."""
        return self.parameters - self.layers * self.width * self._between * self.idle

    @property
    def _between(self) -> int:
        """Matrices between the streams."""
        return 3 if self.gated else 2


def usual(parameters: float) -> tuple[float, float]:
    """Layers and width that a decoder of this size usually has: 12 L D^2 parameters, D about 128 L.

    Llama's, of 7e9 to 70e9, have 32 to 80 layers; this gives 32 to 71.
    """
    width = (parameters * 128 / 12) ** (1 / 3)
    return width / 128, width
