"""Fingerprints of the files behind a path: sha256, remembered by path, size, time and inode."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..data.files import files
from ..errors import SourceError
from ..records.digest import file_sha256
from ..records.shapes import FileEntry, SourceFiles
from ..records.yard import Yard


def fingerprint(yard: Yard, name: str, path: Path, *, made_by: str | None = None) -> SourceFiles:
    """The files of `path`, a file or a folder (hidden names left out), with their hashes.

    Raises SourceError when it is missing, empty or cannot be read; `made_by` is then what to try.
    """
    if not path.exists():
        raise SourceError(
            f"{name} does not exist",
            where=str(path),
            try_=made_by or "check the path; it is relative to the project file",
        )
    root = path if path.is_dir() else path.parent
    found = files(path)
    if not found:
        raise SourceError(
            f"the folder {name} has no files", where=str(path), try_=made_by or "put documents in it"
        )
    return of_files(yard, name, root, found)


def of_files(yard: Yard, name: str, root: Path, paths: Sequence[Path]) -> SourceFiles:
    """Named files below `root`, with their hashes; only what changed since the last time is read."""
    known = yard.ledger.fingerprints([str(path) for path in paths])
    entries: dict[str, FileEntry] = {}
    fresh = []
    for path in paths:
        try:
            stat = path.stat()
            row = known.get(str(path))
            if row and (row.size, row.mtime_ns, row.inode) == (stat.st_size, stat.st_mtime_ns, stat.st_ino):
                sha256 = row.sha256
            else:
                sha256 = file_sha256(path)
                fresh.append(
                    {
                        "path": str(path),
                        "size": stat.st_size,
                        "mtime_ns": stat.st_mtime_ns,
                        "inode": stat.st_ino,
                        "sha256": sha256,
                    }
                )
        except OSError as error:
            raise SourceError(
                f"a file of {name} cannot be read: {error.strerror}",
                where=str(path),
                try_="check its permissions",
            ) from None
        entries[path.relative_to(root).as_posix()] = FileEntry(sha256, stat.st_size)
    if fresh:
        yard.ledger.remember(fresh)
    return SourceFiles(name, root, entries)


def changed(yard: Yard, sources: Sequence[SourceFiles]) -> list[str]:
    """Files that are no longer what their fingerprint says: somebody wrote while a step read."""
    found = []
    for source in sources:
        paths = {str(source.path(name)): name for name in source.files}
        known = yard.ledger.fingerprints(list(paths))
        for path, name in paths.items():
            row = known.get(path)
            try:
                stat = os.stat(path)
            except OSError:
                found.append(name)
                continue
            if row and (row.size, row.mtime_ns, row.inode) != (stat.st_size, stat.st_mtime_ns, stat.st_ino):
                found.append(name)
    return found
