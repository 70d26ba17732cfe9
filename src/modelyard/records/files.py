"""Writing a file so that half of it never exists."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ModelyardError, NoRoom


@contextmanager
def enough_room(where: Path) -> Iterator[None]:
    """Turn "no space left" inside the block, whoever says so, into an error that names the folder."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ModelyardError) or not is_full(error):
            raise
        raise NoRoom(
            "the disk is full; what was made so far is kept and the next `modelyard up` goes on from it",
            where=str(where),
            try_="free some space (`modelyard sweep` drops what nothing needs), then `modelyard up`",
        ) from error


def is_full(error: Exception) -> bool:
    """Whether it is an error of a full disk: libraries in other languages tell it by text alone."""
    full = errno.ENOSPC, errno.EDQUOT
    number = error.errno if isinstance(error, OSError) else None
    return number in full or any(os.strerror(one) in str(error) for one in full)


def write_whole(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write `data` to `path`: a temp file in the same folder, synced, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    with enough_room(path.parent):
        try:
            with temp.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temp.chmod(mode)
            temp.replace(path)
        except BaseException:
            temp.unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Wait until the file's bytes are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Wait until the folder's names are on the disk."""
    sync_file(folder)
