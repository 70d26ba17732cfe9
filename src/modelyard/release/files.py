"""The folder of a release: linked files, and SHA256SUMS over all of them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..records.digest import file_sha256

SUMS = "SHA256SUMS"


def place(source: Path, target: Path) -> None:
    """Put a record's file at `target` without copying its bytes where the file system can."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS, in the form that `sha256sum -c` reads, over every other file of the folder."""
    names = sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != SUMS
    )
    lines = [f"{file_sha256(folder / name)}  {name}\n" for name in names]
    (folder / SUMS).write_text("".join(lines), "utf-8")
