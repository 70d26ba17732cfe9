"""Readers: one file type each, chosen by the file's name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

from ..items import Drop, Page
from .decode import content

ROWS = ".jsonl"

_READERS = {
    ".txt": "text",
    ".text": "text",
    ".rst": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
}

READABLE = frozenset(_READERS)  # types of documents

__all__ = ["READABLE", "ROWS", "read_page", "suffix"]


def suffix(name: str) -> str:
    """The file type in a name, lower case, `.gz` put aside: `a/Manual.HTML.gz` gives `.html`."""
    lower = name.lower().removesuffix(".gz")
    return Path(lower).suffix


def read_page(path: Path, name: str) -> Page:
    """The text of a document file. Raises Drop when its type is unknown or it cannot be decoded."""
    module = _READERS.get(suffix(name))
    if module is None:
        raise Drop("unknown_type", suffix(name) or "no file ending")
    read = importlib.import_module(f".{module}", __name__).read
    return cast(Callable[[bytes, str], Page], read)(content(path), name)
