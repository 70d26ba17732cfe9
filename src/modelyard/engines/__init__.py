"""Engines: whatever runs a model, behind one Protocol, each in a process of its own that may crash."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .menu import ENGINES, EngineSpec, missing, model_path, reads, start, versions
    from .protocol import Completion, Engine, Event, Finish, Request, complete

__all__ = [
    "ENGINES",
    "Completion",
    "Engine",
    "EngineSpec",
    "Event",
    "Finish",
    "Request",
    "complete",
    "missing",
    "model_path",
    "reads",
    "start",
    "versions",
]

_MENU = ("ENGINES", "EngineSpec", "missing", "model_path", "reads", "start", "versions")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(".menu" if name in _MENU else ".protocol", __name__)
    return getattr(module, name)
