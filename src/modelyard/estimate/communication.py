"""Bytes that each device sends in a step, by layout: collectives as rings, 16-bit numbers."""

from __future__ import annotations

from .shape import Shape
from .split import NARROW, Split


def sent_bytes(
    shape: Shape,
    split: Split,
    copies: int,
    tokens: float,
    *,
    trained: float | None = None,
    weight_bytes: float = NARROW,
) -> dict[str, float]:
    """What one device sends for one micro-batch of `tokens`, by what splits the model.

    copies: data parallel workers that hold the same part. trained: parameters that learn; all unless told.
    weight_bytes: of a weight as it is held. A ring's all-reduce over n sends 2 (n - 1)/n of
    what it reduces, a gathering or a scattering half of it (Patarasuk and Yuan 2009). Gradients are reduced
    and sharded weights gathered once forward and once backward (arXiv:1910.02054, section 7); tensor parallel
    reduces the stream four times a layer (arXiv:1909.08053); a pipeline hands the stream on, both ways;
    context parallel passes keys and values round, and their gradients back.
    """
    cut = split.tensor * split.pipeline
    weights = weight_bytes * shape.parameters / cut
    gradients = NARROW * (shape.parameters if trained is None else trained) / cut
    stream = NARROW * shape.width * tokens / split.context
    layers = shape.layers / split.pipeline
    found = {
        "gradients": _ring(copies) * 2 * gradients if split.shards == 1 else 0.0,
        "sharded weights": _ring(split.shards) * (2 * weights + gradients),
        "tensor parallel": _ring(split.tensor) * 2 * 4 * layers * stream,
        "pipeline": 2 * stream / split.tensor if split.pipeline > 1 else 0.0,
        "context parallel": 0.0,
    }
    if split.context > 1:
        pairs = 2 * NARROW * shape.keys * shape.size * tokens / split.context / split.tensor
        found["context parallel"] = 2 * layers * pairs * (split.context - 1)
    return {name: amount for name, amount in found.items() if amount}


def bubble(split: Split, micro_batches: int) -> float:
    """Share of a step in which a pipeline's device waits (arXiv:2104.04473: (p - 1)/m of the work)."""
    waits = (split.pipeline - 1) / micro_batches
    return waits / (1 + waits)


def _ring(devices: int) -> float:
    return (devices - 1) / devices
