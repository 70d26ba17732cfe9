"""The room of flow: which records a project asks for, which of them stand, and making the rest."""

from __future__ import annotations

from .forecast import forecast
from .line import line
from .node import Line, Node
from .search import skipped
from .stale import measured_otherwise
from .steps import NOUNS, STEPS, left_out
from .walk import Done, Stale, Walk, Watcher

__all__ = [
    "NOUNS",
    "STEPS",
    "Done",
    "Line",
    "Node",
    "Stale",
    "Walk",
    "Watcher",
    "forecast",
    "left_out",
    "line",
    "measured_otherwise",
    "skipped",
]
