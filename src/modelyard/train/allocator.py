"""glibc's allocator told to keep what is freed: every training step asks for the same large blocks."""

from __future__ import annotations

import ctypes

from ..records.shapes import Choice

# The parameters' numbers of <malloc.h>; blocks up to 1 GiB stay on the heap, which is never given back.
SETTINGS = (
    ("mmap threshold 1 GiB", -3, 1 << 30),
    ("trim threshold 2 GiB", -1, (1 << 31) - 1),
    ("top pad 64 MiB", -2, 64 << 20),
)


def tune() -> Choice:
    """Set glibc's allocator for large blocks; to be called before torch asks for any. Harmless elsewhere."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return Choice("train.allocator", "default", "this C library has no mallopt")
    taken = [text for text, parameter, value in SETTINGS if mallopt(parameter, value) == 1]
    if not taken:
        return Choice("train.allocator", "default", "the C library took no setting")
    why = "freed blocks are used again instead of being unmapped: almost no page faults in a step"
    return Choice("train.allocator", ", ".join(taken), why)


def give_back() -> None:
    """Return what is free to the system: what loading a model leaves is of no size that a step asks for."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return
