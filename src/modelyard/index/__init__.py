"""The index room: passages of documents, and the ones that a question is about."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bm25 import Bm25, Hit, Passage, build
    from .limit import Calibration, Query, answerable_limit, queries
    from .passages import Piece, cut, length
    from .tokens import UNSPACED, query_terms, terms

_HOME = {
    "Bm25": "bm25",
    "Hit": "bm25",
    "Passage": "bm25",
    "build": "bm25",
    "Calibration": "limit",
    "Query": "limit",
    "answerable_limit": "limit",
    "queries": "limit",
    "Piece": "passages",
    "cut": "passages",
    "length": "passages",
    "query_terms": "tokens",
    "terms": "tokens",
    "UNSPACED": "tokens",
}

__all__ = [
    "UNSPACED",
    "Bm25",
    "Calibration",
    "Hit",
    "Passage",
    "Piece",
    "Query",
    "answerable_limit",
    "build",
    "cut",
    "length",
    "queries",
    "query_terms",
    "terms",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
