"""The serving room: a gateway that speaks OpenAI's API, with keys, limits, holds and a meter."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "Ask": "asks",
    "Books": "books",
    "Held": "asks",
    "Key": "keys",
    "Limits": "limits",
    "Serve": "settings",
    "Settled": "asks",
    "Used": "asks",
    "routes": "app",
    "serve": "command",
}

__all__ = ["Ask", "Books", "Held", "Key", "Limits", "Serve", "Settled", "Used", "routes", "serve"]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f".{_WHERE[name]}", __name__), name)
    raise AttributeError(f"the serving room offers no {name}")
