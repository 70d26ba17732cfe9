"""Optimize: a Model in, a Candidate out: what engines run, and the recipe that made it.

On the way a Model may become a smaller one.
"""

from __future__ import annotations

from .needs import missing
from .settings import (
    CONVERT,
    FILE_KINDS,
    PRUNE,
    UNQUANTISED,
    ConvertSettings,
    FileKind,
    Prune,
    PruneSettings,
    Server,
)

__all__ = [
    "CONVERT",
    "FILE_KINDS",
    "PRUNE",
    "UNQUANTISED",
    "ConvertSettings",
    "FileKind",
    "Prune",
    "PruneSettings",
    "Server",
    "missing",
]
