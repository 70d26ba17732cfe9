"""The room of plans: what a run takes in time, money and memory, from published cases."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "Case": "cases",
    "read": "cases",
    "Row": "backtest",
    "Score": "backtest",
    "predict": "backtest",
    "score": "backtest",
    "Device": "devices",
    "catalogue": "devices",
    "find": "devices",
    "Model": "whatif",
    "Run": "whatif",
    "devices_of": "whatif",
    "model_of": "whatif",
    "number": "whatif",
    "run": "whatif",
}

__all__ = [
    "Case",
    "Device",
    "Model",
    "Row",
    "Run",
    "Score",
    "catalogue",
    "devices_of",
    "find",
    "model_of",
    "number",
    "predict",
    "read",
    "run",
    "score",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_WHERE[name]}", __name__), name)
