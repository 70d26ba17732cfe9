"""Causal attention in which no sample of a row sees another, for any decoder of transformers.

The samples of a row are gathered into small dense batches of nearly equal length, shared beginning included.
Their padding is at the right, where causality hides it, so that the attention needs no mask of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import TrainingError

NAME = "modelyard_packed"

# In bfloat16, torch's fused attention is slow backward on a CPU (5 samples of 230 tokens, 9 heads: 29 ms,
# by plain products 7). Beyond this length the square of scores costs too much memory.
PLAIN_TOKENS_MAX = 512
# A sample shorter than this share of the longest in its group opens the next group.
GROUP_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Group:
    """n samples of nearly equal length: `places` [n, S] of their tokens in the row, padded with place 0."""

    places: Tensor


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the samples of a row of T tokens lie.

    `back` [T]: each token's place in all groups' outputs. `prefix`: tokens at the start that all samples see.
    `even`: all samples are of one length and share nothing, so that they are a batch as they lie.
    """

    groups: tuple[Group, ...]
    back: Tensor
    prefix: int
    even: bool

    def to(self, device: torch.device) -> Layout:
        """The same with its tensors on `device`; on a GPU in one group, for its padding costs less there than
        the start of more products."""
        one = self if device.type == "cpu" else self.in_one_group()
        groups = tuple(Group(group.places.to(device)) for group in one.groups)
        return replace(one, groups=groups, back=one.back.to(device))

    def in_one_group(self) -> Layout:
        """The same with all samples padded to the longest."""
        width = max(group.places.shape[1] for group in self.groups)
        padded, back, first, line = [], torch.empty_like(self.back), 0, 0
        for places in (group.places for group in self.groups):
            count, own = places.shape
            padded.append(functional.pad(places, (0, width - own)))
            here = (self.back >= first) & (self.back < first + places.numel())
            at = self.back[here] - first
            back[here] = (line + at // own) * width + at % own
            first, line = first + places.numel(), line + count
        return replace(self, groups=(Group(torch.cat(padded)),), back=back)


def lay_out(spans: Sequence[tuple[int, int]], prefix: int) -> Layout:
    """The layout of samples at `spans` (start, stop), which all see the row's first `prefix` tokens too."""
    order = sorted(range(len(spans)), key=lambda number: (spans[number][0] - spans[number][1], number))
    groups: list[list[list[int]]] = []
    for number in order:
        start, stop = spans[number]
        places = [*range(prefix), *range(start, stop)]
        if not groups or len(places) < GROUP_SHARE * len(groups[-1][0]):
            groups.append([])
        groups[-1].append(places)
    back = [0] * max(stop for _, stop in spans)
    made = []
    base = 0
    for group in groups:
        width = len(group[0])
        for line, places in enumerate(group):
            for column, place in enumerate(places):
                back[place] = base + line * width + column  # the shared beginning: any sample's will do
        made.append(Group(torch.tensor([places + [0] * (width - len(places)) for places in group])))
        base += width * len(group)
    even = len(made) == 1 and made[0].places.numel() == len(back) and back == list(range(len(back)))
    return Layout(tuple(made), torch.tensor(back), prefix, even)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    layout: Layout | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: query [1, H, T, D], key and value [1, K, T, D] -> [1, T, H, D]."""
    if layout is None:
        raise TrainingError("the packed attention was called without the layout of its row")
    for name in ("softcap", "s_aux", "position_bias"):
        if options.get(name) is not None:
            raise TrainingError(
                f"the model's attention uses {name}, which tuning does not know", try_="another base"
            )
    window = options.get("sliding_window")
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    query, key = query.to(value.dtype), key.to(value.dtype)  # RoPE in float32 may have widened them
    outputs = []
    for group in layout.groups:
        if window is not None and group.places.shape[1] > window:
            raise TrainingError(
                f"a sample is longer than the model's attention window of {window} tokens",
                where="train.sequence_tokens",
                try_=f"sequence_tokens: {window}",
            )
        take = _as_they_lie if layout.even else _gather
        q, k, v = (take(tensor, group.places) for tensor in (query, key, value))
        if value.dtype == torch.bfloat16 and not value.is_cuda and q.shape[2] <= PLAIN_TOKENS_MAX:
            out = _plain(q * scale, k, v)
        else:
            out = functional.scaled_dot_product_attention(
                q, k, v, is_causal=True, scale=scale, enable_gqa=True
            )
        outputs.append(out.transpose(1, 2).flatten(0, 1))  # [n*S, H, D]
    if layout.even:
        return outputs[0].unsqueeze(0), None
    together = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return together.index_select(0, layout.back).unsqueeze(0), None


def _as_they_lie(tensor: Tensor, places: Tensor) -> Tensor:
    """[1, H, T, D] -> [n, H, S, D], where the samples are one batch already."""
    heads, _, size = tensor.shape[1:]
    return tensor[0].view(heads, *places.shape, size).transpose(0, 1)


def _gather(tensor: Tensor, places: Tensor) -> Tensor:
    """[1, H, T, D] -> [n, H, S, D]."""
    rows = tensor[0].transpose(0, 1).index_select(0, places.reshape(-1))
    return rows.view(*places.shape, *rows.shape[1:]).transpose(1, 2)


def _plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention by matrix products, the query heads of a key head stacked: [n, H, S, D] and [n, K, S, D]."""
    n, heads, width, size = query.shape
    kept = key.shape[1]
    stacked = query.reshape(n * kept, heads // kept * width, size)
    scores = torch.bmm(stacked, key.reshape(n * kept, width, size).transpose(1, 2))
    hidden = torch.full((width, width), float("-inf"), dtype=scores.dtype).triu(1)
    chances = torch.softmax(scores.view(n * kept, -1, width, width) + hidden, -1)
    out = torch.bmm(chances.view_as(scores), value.reshape(n * kept, width, size))
    return out.view(n, heads, width, size)


def register() -> str:
    """Tell transformers of this attention; returns the name under which a model asks for it."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(NAME, packed_attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, _no_mask)
    return NAME


def _no_mask(*_: Any, **__: Any) -> None:
    """The layout says all that a mask would."""
