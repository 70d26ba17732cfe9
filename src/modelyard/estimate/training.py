"""Memory of a training run on one machine, term by term, as the explicit step of `train` keeps things.

Every term was counted from that step's own tensors; `bench/memory.py` holds them against real runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from .shape import Shape

FLOAT = 4  # bytes; all but narrow copies of weights is kept in float32
BASE_BYTES = 480_000_000  # of a process with torch and transformers loaded, measured (torch 2.13, CPU)
HEAD_ROWS, HEAD_PAD = 256, 80  # of train/head.py: rows of logits at once, and columns that nobody reads
HOLES = 1.1  # of activations, with what the allocator leaves between them; measured on seven shapes of runs
COMPARED = 3  # tensors as large as a teacher's chances while they are held against the student's
TRANSIENT_LAYERS = 1.5  # what a layer's backward pass makes and lets go, in what a layer keeps


@dataclass(frozen=True, slots=True)
class Run:
    """What decides a run's memory. `rank` None: all weights are trained. Rows of `row_tokens` at most."""

    rank: int | None
    row_tokens: int
    longest: int
    workers: int
    recompute: bool
    width_bytes: int = FLOAT
    """Of a weight in the products: 4 in float32, 2 in narrower types."""
    teacher: Shape | None = None
    """Of a model that is asked for its chances of every word."""


def memory_bytes(shape: Shape, run: Run) -> dict[str, int]:
    """Peak memory by term, in bytes."""
    weights = shape.parameters * FLOAT
    matrices = shape.layers * shape.layer_matrices
    layer = kept_bytes(shape, run)
    kept = layer * (1 + TRANSIENT_LAYERS) if run.recompute else layer * (shape.layers + TRANSIENT_LAYERS)
    if run.recompute:
        kept += shape.layers * run.row_tokens * shape.width * FLOAT
    logits = HEAD_ROWS * (shape.words + HEAD_PAD) * FLOAT
    if run.rank is None:
        trained = shape.parameters
        # What is computed with is the trained tensor itself, or a narrow copy of it.
        copies = 0 if run.width_bytes == FLOAT else shape.parameters * run.width_bytes
    else:
        trained = adapter_parameters(shape, run.rank)
        copies = matrices * run.width_bytes
        if run.width_bytes != FLOAT:
            weights = shape.embeddings * (FLOAT + run.width_bytes)
    terms = {
        "process": BASE_BYTES,
        "weights": weights,
        "copies of the weights": copies,
        "gradients": trained * FLOAT * run.workers,
        "optimizer": trained * FLOAT * (2 if run.rank is None else 3),
        "activations": int(kept * run.workers * HOLES),
        "logits": logits * run.workers,
    }
    if run.teacher is not None:
        terms["teacher"] = teacher_bytes(run.teacher, run)
    return terms


def teacher_bytes(teacher: Shape, run: Run) -> int:
    """Its weights in float32; of each worker its logits, what they are compared by, and one of its layers."""
    chances = HEAD_ROWS * (teacher.words + HEAD_PAD) * FLOAT * (1 + COMPARED)
    layer = run.row_tokens * (4 * teacher.width + 3 * teacher.inner) * FLOAT
    return teacher.parameters * FLOAT + (chances + layer) * run.workers


def kept_bytes(shape: Shape, run: Run) -> int:
    """What one layer keeps of a row for its backward pass, in bytes.

    Of each token the streams that come in and come out of attention, q, k, v, what attention gives, gate and
    up; the adapters' images; of each query its chances, in blocks of 64 against the keys up to their end
    (arXiv:2205.05198 counts the same for other steps).
    """
    queries = shape.heads * shape.size
    numbers = 2 * shape.width + 2 + queries + (queries + 2 * shape.keys * shape.size) + 2 * shape.inner
    if run.rank is not None:
        numbers += sum(-(-count * run.rank // 8) * 8 for count in (3, 1, 2, 1))
    if shape.normed_heads:
        numbers += (shape.heads + shape.keys) * (shape.size + 1)
    chances = shape.heads * (run.longest / 2 + 32)
    return int(run.row_tokens * (numbers + chances) * FLOAT)


def adapter_parameters(shape: Shape, rank: int) -> int:
    """Of adapters on all matrices of all layers: rank times the sum of both sides of each."""
    queries, keys = shape.heads * shape.size, shape.keys * shape.size
    sides = (shape.width + queries) * 2 + (shape.width + keys) * 2 + (shape.width + shape.inner) * 3
    return shape.layers * rank * sides
