"""A packed row as tensors: samples one after the other, what they share of their beginning laid only once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from .attention import Layout, lay_out
from .samples import Sample

# Below this the shared beginning saves less than the indexing costs.
PREFIX_TOKENS_MIN = 8


@dataclass(frozen=True, slots=True)
class Row:
    """T tokens of one or more samples, L of them to be learned.

    ids [1, T]; positions [1, T], from 0 in each sample; before [L]: the places whose hidden state predicts
    the labels; labels [L]; of [L]: the sample that each belongs to; references [n]: the samples' own;
    `tokens`: of the samples, the shared beginning counted in each.
    """

    ids: Tensor
    positions: Tensor
    before: Tensor
    labels: Tensor
    of: Tensor
    references: Tensor
    layout: Layout
    tokens: int

    def to(self, device: torch.device) -> Row:
        """The same with its tensors on `device`."""
        if self.ids.device.type == device.type:
            return self
        moved: dict[str, Any] = {
            field.name: value.to(device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor | Layout)
        }
        return replace(self, **moved)


def shared(samples: Sequence[Sample]) -> int:
    """Tokens that all samples begin with, nothing to be learned among them or right after them."""
    if len(samples) < 2:
        return 0
    lowest, highest = min(one.ids for one in samples), max(one.ids for one in samples)
    pairs = zip(lowest, highest, strict=False)  # what the two ends of the order share, all share
    common = next((at for at, (low, high) in enumerate(pairs) if low != high), len(lowest))
    first = min(one.learn.index(True) for one in samples)
    length = min(common, first - 1)
    return length if length >= PREFIX_TOKENS_MIN else 0


def pack(samples: Sequence[Sample]) -> Row:
    """The row that holds `samples` in this order."""
    prefix = shared(samples)
    ids = list(samples[0].ids[:prefix])
    positions = list(range(prefix))
    before: list[int] = []
    labels: list[int] = []
    of: list[int] = []
    spans = []
    for number, one in enumerate(samples):
        start = len(ids)
        ids += one.ids[prefix:]
        positions += range(prefix, len(one))
        spans.append((start, len(ids)))
        for place in range(prefix, len(one)):
            if one.learn[place]:
                before.append(start + place - prefix - 1)
                labels.append(one.ids[place])
                of.append(number)
    return Row(
        ids=torch.tensor([ids]),
        positions=torch.tensor([positions]),
        before=torch.tensor(before),
        labels=torch.tensor(labels),
        of=torch.tensor(of),
        references=torch.tensor([one.reference for one in samples]),
        layout=lay_out(spans, prefix),
        tokens=sum(len(one) for one in samples),
    )
