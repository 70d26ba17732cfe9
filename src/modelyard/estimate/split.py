"""Memory of one device of a run that is split over many, term by term, in 16-bit mixed precision.

What layers keep is counted as PyTorch's autograd keeps it. Held against published peaks by
`plan/cases/memory.csv` (docs/plan.md says how close).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .shape import Shape

NARROW, WIDE = 2, 4  # bytes of a number in bf16 or fp16, and in float32
ADAM = 16  # bytes a parameter: weights, gradient and two moments in float32
# Narrow weights and a float32 copy beside float32 gradients and moments (arXiv:2205.05198, figure 1).
ADAM_MASTER = 18
# Bytes a word and token of logits, their float32 copy, chances and gradients while the loss is taken. Set on
# LitGPT's rows of two models with layer norms (16.2 and 16.4).
LOGITS = 16
# Bytes a number of a root-mean-square norm computed by single operations in float32: set on LitGPT's Llama.
ROOT_MEAN_SQUARE = 7.3
# Bytes a weight of nf4's scales, one for 64: in float32, or quantised themselves (arXiv:2305.14314).
BLOCK, BLOCK_TWICE = 4 / 64, 0.127 / 8
# Copies of the head in 16 bits at the peak of a model held in nf4: set on LitGPT's rows.
HEADS_UNPACKED = 2.12
RANK = 8  # of adapters on queries and values

Weights = Literal["16bit", "nf4", "nf4-dq"]
Recompute = Literal["none", "selective", "full"]


@dataclass(frozen=True, slots=True)
class Split:
    """Over how many devices what is split. `shards`: weights and their states by data parallel workers."""

    shards: int = 1
    tensor: int = 1
    pipeline: int = 1
    context: int = 1
    optimizer: int = 1
    """Workers that share the optimizer's part of the states alone (ZeRO's first stage)."""
    overlapped: bool = False
    """Tensor parallel gathers go with the products: no whole stream stands in memory."""


ALONE = Split()


def held_bytes(model: Shape, weights: Weights) -> float:
    """A model loaded to be asked, alone on a device."""
    if weights == "16bit":
        return NARROW * model.parameters
    linear = model.parameters - model.embedding  # a tied head stays as wide as the embedding it is
    packed = linear * (0.5 + (BLOCK if weights == "nf4" else BLOCK_TWICE))
    return packed + NARROW * model.embedding * (1 + HEADS_UNPACKED)


def attention_adapters(model: Shape) -> float:
    """Of adapters of RANK on queries and values."""
    return RANK * 2 * (model.width + model.heads * model.size) * model.layers


def frozen_bytes(model: Shape, weights: Weights, split: Split = ALONE) -> dict[str, float]:
    """A model that does not learn: what a device holds of it, and what it gathers for the layer at work."""
    base = held_bytes(model, weights)
    if weights != "16bit":
        base -= NARROW * model.embedding * HEADS_UNPACKED
    workers = split.shards * split.context
    gathered = base / model.parameters * (2 * model.layer_matrices + model.embeddings) / split.tensor
    return {
        "weights": base / (workers * split.tensor * split.pipeline),
        "gathered weights": gathered if workers > 1 else 0.0,
    }


def adapters_bytes(
    model: Shape,
    weights: Weights,
    tokens: float,
    split: Split = ALONE,
    *,
    trained: float | None = None,
    again: bool = False,
) -> dict[str, float]:
    """Adapters on queries and values learn, the rest is frozen. `tokens`: of one micro-batch of one worker.

    trained: parameters of the adapters; those of RANK unless told.

    `again`: every layer is recomputed, so that only what comes into it is kept.
    """
    if trained is None:
        trained = attention_adapters(model)
    mine = tokens / split.context / split.tensor
    layers = model.layers / split.pipeline
    # Frozen matrices keep no input; the two with adapters keep one that dropout went over, and its mask.
    kept = _norms(model) + 3 * model.width + _attention(model) + _inner(model)
    unpacked = 0.0
    if weights != "16bit":  # products with packed weights keep their inputs
        kept += NARROW * ((4 if model.gated else 3) * model.width + model.inner)
        unpacked = NARROW * model.embedding / split.tensor
    held = kept + layers * NARROW * model.width if again else layers * kept
    return {
        **frozen_bytes(model, weights, split),
        "unpacked weights": unpacked,
        # Gradients and two moments, all in the weights' type or wider.
        "optimizer": trained * 10 / (split.shards * split.context * split.tensor * split.pipeline),
        "activations": mine * held,
        "logits": mine * LOGITS * model.words,
    }


def whole_bytes(model: Shape, split: Split, tokens: float, recompute: Recompute) -> dict[str, float]:
    """All weights learn, in float32, computed with in 16 bits. `tokens`: of one micro-batch of one worker."""
    mine = tokens / split.context / split.tensor
    own = model.parameters / (split.tensor * split.pipeline * split.context)
    moments = (ADAM - 2 * WIDE) / max(split.shards, split.optimizer) + 2 * WIDE / split.shards
    states = own * moments
    one_layer = _norms_kept(model) + _attention(model) + NARROW * model.width + _inner(model)
    kept = {"none": one_layer, "selective": _selective(model), "full": NARROW * model.width}[recompute]
    gathered = NARROW * (2 * model.layer_matrices + model.embeddings) / split.tensor
    if split.shards * split.context == 1:
        gathered = NARROW * model.parameters / (split.tensor * split.pipeline)
    streams = 0.0
    if split.tensor > 1 and not split.overlapped:
        streams = 2 * NARROW * model.width * tokens / split.context
    return {
        "weights, gradients, optimizer": states,
        "gathered weights": gathered,
        "activations": mine * (model.layers / split.pipeline * kept + one_layer),
        "gathered streams": streams,
        "logits": mine * LOGITS * model.words,
    }


def megatron_activation_bytes(
    model: Shape, split: Split, batch: int, sequence: int, *, selective: bool, in_flight: float
) -> float:
    """Activations of one device by arXiv:2205.05198, equations 2 and 4 and section 4.2.3.

    `selective`: attention is recomputed and norms are split along the sequence; otherwise neither.
    """
    stream = sequence * batch * model.width
    if selective:
        layer = stream * 34 / split.tensor
    else:
        layer = stream * (10 + 24 / split.tensor + 5 * model.heads * sequence / model.width / split.tensor)
    return layer * model.layers * in_flight


def _norms(model: Shape) -> float:
    """Bytes a token of a layer's norms whose own weights are frozen."""
    return model.norms * model.width * (ROOT_MEAN_SQUARE if model.root_mean_square else NARROW)


def _norms_kept(model: Shape) -> float:
    """Bytes a token of the inputs of a layer's norms, fused."""
    return NARROW * model.norms * model.width


def _attention(model: Shape) -> float:
    """Bytes a token: queries, keys, values and what fused attention gives."""
    return NARROW * 2 * (model.width + model.keys * model.size)


def _inner(model: Shape) -> float:
    """Bytes a token between the streams: what the activation reads and, gated, what the product reads."""
    return NARROW * (3 if model.gated else 1) * model.inner


def _selective(model: Shape) -> float:
    """Bytes a token of a layer that keeps every second product and attention (torchtitan's default)."""
    products = 3 * model.width + 2 * model.keys * model.size + 2 * model.inner
    return NARROW * (products / 2 + 2 * model.width)
