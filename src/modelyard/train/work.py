"""How much arithmetic a trained token is, and how fast this machine can do it at best."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..estimate.configuration import of_config
from ..estimate.operations import trained_token
from .samples import Sample

if TYPE_CHECKING:
    import torch

# Of the products of a small model; a wide one's reach a little more. Both factors stay in a core's cache.
ROWS, WIDTH, INNER = 512, 576, 3072
SIDE_CUDA, TIMES_CUDA = 8192, 4
TRIAL_S, WINDOW_S = 0.3, 0.1  # the best window counts: something else may run now and then


def flop_per_token(
    config: Mapping[str, Any], items: Sequence[Sequence[Sample]], *, whole: bool
) -> float | None:
    """Float operations of a trained token's matrix products; None where `config` does not tell the shape."""
    shape = of_config(config)
    if shape is None:
        return None
    lengths = [len(sample) for item in items for sample in item]
    labels = sum(sample.labels for item in items for sample in item)
    tokens = sum(lengths)
    seen = sum(length * length / 2 for length in lengths) / tokens  # each token sees half of its sample
    return trained_token(shape, whole=whole, labels=labels / tokens, seen=seen)


def roof(precision: str, threads: int, device: torch.device | None = None) -> float:
    """Float operations a second that products reach on `threads` threads at once, in a third of a second."""
    import torch

    from .precision import TYPES

    if device is not None and device.type == "cuda":
        return _roof_cuda(TYPES[precision])
    done = [0] * threads
    started = threading.Barrier(threads + 1)
    ends = threading.Event()

    def multiply(at: int) -> None:
        torch.set_num_threads(1)  # of this thread alone
        shapes = ((ROWS, WIDTH), (WIDTH, INNER), (ROWS, INNER))
        a, b, out = (torch.ones(shape, dtype=TYPES[precision]) for shape in shapes)
        started.wait()
        while not ends.is_set():
            torch.mm(a, b, out=out)
            done[at] += 2 * ROWS * WIDTH * INNER

    before = torch.get_num_threads()
    pool = [threading.Thread(target=multiply, args=(at,)) for at in range(threads)]
    for one in pool:
        one.start()
    started.wait()
    best, start = 0.0, time.perf_counter()
    while best == 0 or time.perf_counter() - start < TRIAL_S:
        first, begun = sum(done), time.perf_counter()
        time.sleep(WINDOW_S)
        best = max(best, (sum(done) - first) / (time.perf_counter() - begun))
    ends.set()
    for one in pool:
        one.join()
    torch.set_num_threads(before)
    return best


def _roof_cuda(dtype: torch.dtype) -> float:
    """The same of a GPU, by products that fill it."""
    import torch

    a, b = (torch.randn(SIDE_CUDA, SIDE_CUDA, dtype=dtype, device="cuda") for _ in range(2))
    best, start = 0.0, time.perf_counter()
    while time.perf_counter() - start < TRIAL_S:
        torch.cuda.synchronize()
        begun = time.perf_counter()
        for _ in range(TIMES_CUDA):
            a @ b
        torch.cuda.synchronize()
        best = max(best, TIMES_CUDA * 2 * SIDE_CUDA**3 / (time.perf_counter() - begun))
    return best
