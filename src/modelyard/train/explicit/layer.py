"""One decoder layer, forward and backward: attention, then a gated network, each with a norm before it."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from ..attention import Layout
from . import attention, norm, swiglu
from .attention import Heads
from .projection import Projection
from .rope import Places
from .whole_projection import WholeProjection

Product = Projection | WholeProjection


@dataclass(frozen=True, slots=True)
class Kept:
    """Of T tokens, for the backward pass; norms and the gated product are computed again."""

    x: Tensor  # [T, D], what came in
    inverse: Tensor  # [T, 1], 1 / rms(x)
    u_qkv: Tensor
    normed: tuple[tuple[Tensor, Tensor], ...]  # q and k where the model norms heads: n and 1 / rms
    groups: list[attention.Kept]
    mixed: Tensor  # [T, H S], the attention's output
    u_o: Tensor
    middle: Tensor  # [T, D], after the attention
    middle_inverse: Tensor
    both: Tensor  # [T, 2I], gate and up
    u_both: Tensor
    u_down: Tensor


@dataclass(frozen=True, slots=True)
class Layer:
    """q, k, v as one projection and gate, up as another. D: width of the stream; I: of the gated network."""

    qkv: Product
    o: Product
    gate_up: Product
    down: Product
    heads: Heads
    eps: float
    head_norms: tuple[Tensor, ...] = ()
    """Weights [S] of the norms of q and k, where a model has them (Qwen3)."""
    first: bool = False
    """The lowest layer where nothing below it learns: it gives no gradient further down."""
    head_norms_into: list[tuple[Tensor, ...]] = field(default_factory=list)
    """Of each worker, where the gradients of `head_norms` go, where those are trained."""

    @property
    def products(self) -> dict[str, Product]:
        """All four by name."""
        return {"qkv": self.qkv, "o": self.o, "gate_up": self.gate_up, "down": self.down}

    def forward(self, x: Tensor, places: Places, layout: Layout) -> tuple[Tensor, Kept]:
        """The stream x [T, D], float32, through the layer."""
        n, inverse = norm.forward(x, self.eps)
        qkv, u_qkv = self.qkv.forward(n)
        normed = self._place(qkv, places)
        mixed, groups = attention.forward(qkv, layout, self.heads)
        o, u_o = self.o.forward(mixed)
        middle = x + o
        n, middle_inverse = norm.forward(middle, self.eps)
        both, u_both = self.gate_up.forward(n)
        down, u_down = self.down.forward(swiglu.forward(both))
        kept = Kept(
            x, inverse, u_qkv, normed, groups, mixed, u_o, middle, middle_inverse, both, u_both, u_down
        )
        return middle + down, kept

    def backward(self, dx: Tensor, places: Places, layout: Layout, kept: Kept, worker: int) -> Tensor:
        """The gradient of what came in, [T, D]; those of what is trained are added to the worker's."""
        dy = dx.to(kept.both.dtype)
        da, v = self.down.backward(dy)
        dboth, gated = swiglu.backward(da, kept.both)
        self.down.learn(dy, gated, kept.u_down, v, worker)
        dn, v = self.gate_up.backward(dboth)
        n = kept.middle * kept.middle_inverse
        self.gate_up.learn(dboth, n, kept.u_both, v, worker)
        dx = dx + norm.backward(dn, n, kept.middle_inverse)

        dy = dx.to(kept.both.dtype)
        dmixed, v = self.o.backward(dy)
        self.o.learn(dy, kept.mixed, kept.u_o, v, worker)
        dqkv = attention.backward(dmixed, layout, self.heads, kept.groups)
        self._place_back(dqkv, places, kept.normed, worker)
        dn, v = self.qkv.backward(dqkv)
        n = kept.x * kept.inverse
        self.qkv.learn(dqkv, n, kept.u_qkv, v, worker)
        return dx if self.first else dx + norm.backward(dn, n, kept.inverse)

    def _place(self, qkv: Tensor, places: Places) -> tuple[tuple[Tensor, Tensor], ...]:
        """Norm the heads of q and k where the model does, and turn them, in place."""
        parts = self._turned(qkv)
        normed = []
        for part, weight in zip(parts, self.head_norms, strict=False):
            normed.append(norm.forward(part.float(), self.eps))
            part.copy_(normed[-1][0] * weight)
        for part, angles in zip(parts, places, strict=True):
            angles.turn(part)
        return tuple(normed)

    def _place_back(
        self, dqkv: Tensor, places: Places, normed: tuple[tuple[Tensor, Tensor], ...], worker: int
    ) -> None:
        """The gradient before that, in place."""
        parts = self._turned(dqkv)
        for part, angles in zip(parts, places, strict=True):
            angles.turn_back(part)
        if self.head_norms_into:
            for part, (n, _), into in zip(parts, normed, self.head_norms_into[worker], strict=True):
                into.add_((part * n).sum((0, 1)))
        for part, weight, (n, inverse) in zip(parts, self.head_norms, normed, strict=False):
            part.copy_(norm.backward(part * weight, n, inverse))

    def _turned(self, qkv: Tensor) -> tuple[Tensor, ...]:
        """The heads of q [T, H, S] and of k [T, K, S], which positions turn."""
        return attention.parts(qkv.view(len(qkv), -1, self.heads.size), self.heads, 1)[:2]
