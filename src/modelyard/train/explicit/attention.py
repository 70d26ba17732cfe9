"""Causal attention of packed samples, a block of queries at a time against the keys up to its end.

The query heads of a key head are stacked as rows of one product, so keys and values are never copied, and
nothing above the diagonal is computed but in the last block. The probabilities are kept for the backward
pass. On a CPU with AVX2 one sequence of 512 tokens took 5.2 ms forward, like torch's fused attention, and
9.2 ms backward where that took 14.9.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..attention import Group, Layout

BLOCK = 64  # queries; larger ones compute more above the diagonal, smaller ones make small products


@dataclass(frozen=True, slots=True)
class Heads:
    """H query heads, K key heads of S numbers each; G = H/K."""

    queries: int
    keys: int
    size: int

    @property
    def width(self) -> int:
        """Numbers of a token in q, k and v together."""
        return (self.queries + 2 * self.keys) * self.size


@dataclass(frozen=True, slots=True)
class Kept:
    """Of one group: q [nK, G, S', S], k and v [nK, S', S], and each block's probabilities [nK, G B, keys]."""

    q: Tensor
    k: Tensor
    v: Tensor
    chances: list[Tensor]


def forward(qkv: Tensor, layout: Layout, heads: Heads) -> tuple[Tensor, list[Kept]]:
    """[T, (H+2K) S], q scaled -> [T, H S], and what `backward` needs."""
    outs, kept = [], []
    for group in layout.groups:
        q, k, v = _split(qkv if layout.even else qkv.index_select(0, group.places.view(-1)), group, heads)
        out = torch.empty_like(q)
        chances = []
        for start, stop in _blocks(k.shape[1]):
            rows = q[:, :, start:stop].flatten(1, 2)  # [nK, G B, S]
            p = torch.bmm(rows, k[:, :stop].transpose(1, 2))
            _hide(p, start, stop)
            p = torch.softmax(p, -1)
            chances.append(p)
            out[:, :, start:stop] = torch.bmm(p, v[:, :stop]).view(*q.shape[:2], -1, heads.size)
        kept.append(Kept(q, k, v, chances))
        outs.append(_tokens(out, group, heads))
    return _row(outs, layout), kept


def backward(dout: Tensor, layout: Layout, heads: Heads, kept: list[Kept]) -> Tensor:
    """The gradient of qkv, [T, (H+2K) S], from that of the output, [T, H S]."""
    spread = dout
    if not layout.even:
        spread = dout.new_zeros(sum(group.places.numel() for group in layout.groups), dout.shape[1])
        spread[layout.back] = dout  # a token in several groups' outputs was taken from one of them
    made, at = [], 0
    for group, one in zip(layout.groups, kept, strict=True):
        size = group.places.numel()
        made.append(_group_backward(spread[at : at + size], group, heads, one))
        at += size
    dqkv = _row(made, layout)
    if layout.prefix:  # read by every sample
        dqkv[: layout.prefix] = sum(
            part.view(*group.places.shape, -1)[:, : layout.prefix].sum(0)
            for part, group in zip(made, layout.groups, strict=True)
        )
    return dqkv


def _group_backward(dout: Tensor, group: Group, heads: Heads, kept: Kept) -> Tensor:
    n, width = group.places.shape
    share = heads.queries // heads.keys
    # [n S', H S] -> [nK, G, S', S]
    do = dout.view(n, width, heads.keys, share, heads.size).permute(0, 2, 3, 1, 4).flatten(0, 1)
    dq, dk, dv = torch.empty_like(kept.q), torch.zeros_like(kept.k), torch.zeros_like(kept.v)
    for (start, stop), p in zip(_blocks(width), kept.chances, strict=True):
        drows = do[:, :, start:stop].flatten(1, 2)
        rows = kept.q[:, :, start:stop].flatten(1, 2)
        dv[:, :stop].baddbmm_(p.transpose(1, 2), drows)
        dp = torch.bmm(drows, kept.v[:, :stop].transpose(1, 2))
        dscores = torch.ops.aten._softmax_backward_data(dp, p, -1, p.dtype)
        dq[:, :, start:stop] = torch.bmm(dscores, kept.k[:, :stop]).view(*dq.shape[:2], -1, heads.size)
        dk[:, :stop].baddbmm_(dscores.transpose(1, 2), rows)
    dqkv = dout.new_empty(n, width, heads.queries + 2 * heads.keys, heads.size)
    for into, gradient in zip(parts(dqkv, heads, 2), (dq, dk, dv), strict=True):
        # [nK, (G,) S', S] -> [n, S', heads, S]
        into.copy_(gradient.reshape(n, into.shape[2], width, heads.size).transpose(1, 2))
    return dqkv.view(n * width, heads.width)


def parts(heads_of_all: Tensor, heads: Heads, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """The heads of q, k and v among all, which lie along `dim`."""
    q = heads_of_all.narrow(dim, 0, heads.queries)
    k = heads_of_all.narrow(dim, heads.queries, heads.keys)
    return q, k, heads_of_all.narrow(dim, heads.queries + heads.keys, heads.keys)


def _split(qkv: Tensor, group: Group, heads: Heads) -> tuple[Tensor, Tensor, Tensor]:
    """q [nK, G, S', S], k and v [nK, S', S] of n samples of S' tokens, from their [n S', (H+2K) S]."""
    n, width = group.places.shape
    q, k, v = parts(qkv.view(n, width, -1, heads.size).transpose(1, 2), heads, 1)
    q = q.reshape(n * heads.keys, heads.queries // heads.keys, width, heads.size)
    return q, k.reshape(-1, width, heads.size), v.reshape(-1, width, heads.size)


def _tokens(out: Tensor, group: Group, heads: Heads) -> Tensor:
    """[nK, G, S', S] -> [n S', H S]."""
    n, width = group.places.shape
    return out.view(n, heads.queries, width, heads.size).transpose(1, 2).reshape(n * width, -1)


def _row(made: list[Tensor], layout: Layout) -> Tensor:
    """The tokens of all groups in the order of the row."""
    if layout.even:
        return made[0]
    return (made[0] if len(made) == 1 else torch.cat(made)).index_select(0, layout.back)


def _blocks(width: int) -> Iterator[tuple[int, int]]:
    for start in range(0, width, BLOCK):
        yield start, min(start + BLOCK, width)


def _hide(scores: Tensor, start: int, stop: int) -> None:
    """No query sees a later key: [nK, G B, stop], of queries start to stop."""
    size = stop - start
    later = torch.full((size, size), float("-inf"), dtype=scores.dtype).triu_(1)
    scores.view(len(scores), -1, size, stop)[..., start:].add_(later)
