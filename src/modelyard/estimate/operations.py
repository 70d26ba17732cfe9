"""Float operations of training and of reading, per token."""

from __future__ import annotations

from .shape import Shape, usual


def trained_token(shape: Shape, *, whole: bool, labels: float, seen: float) -> float:
    """Float operations of a trained token's matrix products.

    Two an element and token forward and two for the gradient of what a matrix reads; two more for the
    gradient of its own values where the `whole` model learns (arXiv:2001.08361, the 6 N of training; 4 N
    where the matrices are frozen). The head only at `labels` a token. Each token sees `seen` others: two
    products forward and four backward. Adapters, a teacher and recomputing are left out: what they cost is
    no progress.
    """
    each = 6 if whole else 4
    products = each * (shape.met - shape.embeddings + shape.width * shape.words * labels)
    return products + 12 * shape.layers * shape.heads * shape.size * seen


def training_token(parameters: float, sequence: float, *, frozen: bool = False) -> float:
    """Float operations of a trained token of a decoder with so many parameters, read in sequences so long.

    6 N (arXiv:2001.08361), or 4 N where the matrices are `frozen`; and 12 L D S of attention, not halved for
    causality (Megatron-LM and llm-foundry count so). Parameters are those that a token meets. Recomputing is
    left out: it is no progress.
    """
    layers, width = usual(parameters)
    return (4 if frozen else 6) * parameters + 12 * layers * width * sequence
