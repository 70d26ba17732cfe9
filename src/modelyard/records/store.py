"""The content-addressed store: bytes at store/ab/cdef… by their sha256, read-only, checked when read."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import RecordError
from .digest import digest, file_sha256
from .files import enough_room, sync_file, sync_folder
from .shapes import FileEntry


class Store:
    """Files by content, and views of them: folders in which they have their names again."""

    def __init__(self, root: Path) -> None:
        self.root = root / "store"
        self.views = root / "view"
        self._checked: set[str] = set()

    def path(self, sha256: str) -> Path:
        """Where the content with this hash lies, whether or not it is there."""
        return self.root / sha256[:2] / sha256[2:]

    def take(self, folder: Path) -> dict[str, FileEntry]:
        """Move every file below `folder` into the store; returns name -> content, sorted by name."""
        names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        return {name: self._take_file(folder / name) for name in names}

    def _take_file(self, path: Path) -> FileEntry:
        entry = FileEntry(file_sha256(path), path.stat().st_size)
        place = self.path(entry.sha256)
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            with enough_room(place.parent):
                sync_file(path)
                path.chmod(0o444)
                path.replace(place)  # the same disk: work/ and store/ lie in one yard
                sync_folder(place.parent)
        return entry

    def check(self, sha256: str, name: str) -> Path:
        """The content's path, its bytes hashed once in this process.

        Raises RecordError when it is missing or its bytes are not what the hash says.
        """
        place = self.path(sha256)
        if sha256 in self._checked:
            return place
        if not place.exists():
            raise RecordError(
                f"the store lacks the content of {name}",
                where=str(place),
                try_="`modelyard up --again STEP` makes it again, or restore the yard's folder from a copy",
            )
        if file_sha256(place) != sha256:
            raise RecordError(
                f"{name} was changed after it was stored",
                where=str(place),
                try_="`modelyard sweep --damaged` drops it, then `modelyard up` makes it again",
            )
        self._checked.add(sha256)
        return place

    def view(self, files: Mapping[str, FileEntry]) -> Path:
        """A folder in which `files` have their names: hard links into the store, hash-checked.

        Made beside its place and renamed, so that a half-made view never exists.
        """
        for name, entry in files.items():
            self.check(entry.sha256, name)
        whole = self.views / manifest_digest(files)[:32]
        if whole.is_dir():
            if self._is_of_store(whole, files):
                return whole
            # A file was put in another's place: out of the way first, so that the new view takes the name.
            aside = whole.with_name(f".{whole.name}.{secrets.token_hex(4)}.part")
            whole.rename(aside)
            shutil.rmtree(aside)
        part = self.views / f".{whole.name}.{secrets.token_hex(4)}.part"
        for name, entry in files.items():
            target = part / name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(self.path(entry.sha256), target)
        part.mkdir(parents=True, exist_ok=True)  # a record may have no files
        try:
            part.rename(whole)
        except OSError:
            shutil.rmtree(part)
            if not whole.is_dir():
                raise
        return whole

    def _is_of_store(self, whole: Path, files: Mapping[str, FileEntry]) -> bool:
        """Whether a view's names still lead to the very files that were hash-checked."""
        try:
            return all((whole / name).samefile(self.path(entry.sha256)) for name, entry in files.items())
        except FileNotFoundError:
            return False

    def contents(self) -> Iterator[str]:
        """The hash of every content in the store."""
        for folder in sorted(self.root.glob("??")):
            for path in sorted(folder.iterdir()):
                yield folder.name + path.name

    def drop(self, sha256: str) -> int:
        """Remove a content; returns its size in bytes."""
        place = self.path(sha256)
        size = place.stat().st_size
        place.unlink()
        return size


def manifest_digest(files: Mapping[str, FileEntry]) -> str:
    """The digest of a record: its manifest names every file with its sha256."""
    return digest("manifest", {name: entry.sha256 for name, entry in files.items()})
