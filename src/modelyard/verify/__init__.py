"""The verify room: is the file the model, does the engine run it right, how good, how fast, at what cost."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "MEASURE": "settings",
    "REFERENCE": "settings",
    "MeasureSettings": "settings",
    "Mix": "settings",
    "ReferenceSettings": "settings",
    "Grounded": "answer",
    "NotStated": "answer",
    "put": "answer",
    "exact_match": "score",
    "f1": "score",
    "is_not_stated": "score",
    "macro_mean": "intervals",
    "paired_difference": "intervals",
    "share": "intervals",
}

__all__ = [
    "MEASURE",
    "REFERENCE",
    "Grounded",
    "MeasureSettings",
    "Mix",
    "NotStated",
    "ReferenceSettings",
    "exact_match",
    "f1",
    "is_not_stated",
    "macro_mean",
    "paired_difference",
    "put",
    "share",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f".{_WHERE[name]}", __name__), name)
    raise AttributeError(f"the verify room offers no {name}")
