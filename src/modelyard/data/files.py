"""The files behind a path."""

from __future__ import annotations

import os
from pathlib import Path


def files(path: Path) -> list[Path]:
    """`path` itself, or every file below the folder, in order; hidden names left out. Empty for neither."""
    if not path.is_dir():
        return [path] if path.exists() else []
    found = []
    for place, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(found)
