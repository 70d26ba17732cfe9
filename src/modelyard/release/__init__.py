"""The release room: gates, the choice among verdicts, and the folder that is served."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "CHOOSE": "settings",
    "ChooseSettings": "settings",
    "Gate": "settings",
    "Mix": "settings",
    "Release": "settings",
    "ended": "settings",
    "gates_for": "settings",
    "Judgement": "gates",
    "judge": "gates",
    "Price": "cost",
    "Pick": "choose",
    "Raced": "choose",
    "Row": "choose",
    "Verdict": "choose",
    "cheaper": "choose",
    "holds": "choose",
    "is_enough": "choose",
    "is_settled": "choose",
    "pick": "choose",
    "probed": "choose",
    "queue": "choose",
    "raced": "choose",
    "reference": "choose",
    "verdict": "choose",
}

__all__ = [
    "CHOOSE",
    "ChooseSettings",
    "Gate",
    "Judgement",
    "Mix",
    "Pick",
    "Price",
    "Raced",
    "Release",
    "Row",
    "Verdict",
    "cheaper",
    "ended",
    "gates_for",
    "holds",
    "is_enough",
    "is_settled",
    "judge",
    "pick",
    "probed",
    "queue",
    "raced",
    "reference",
    "verdict",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f".{_WHERE[name]}", __name__), name)
    raise AttributeError(f"the release room offers no {name}")
