"""A copy of a yard that can stand in its place: the ledger as of one moment, and all that it speaks of."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import __version__
from ..errors import ProjectError, RecordError
from . import audit
from .clock import now
from .digest import CHUNK_BYTES, file_sha256
from .files import enough_room, sync_file, sync_folder, write_whole
from .ledger import Ledger
from .store import Store
from .tables import SCHEMA_VERSION
from .upgrade import back_up
from .work import whole_yard

MANIFEST = "backup.json"
FORMAT = "modelyard-backup/1"
PROJECT = "modelyard.yaml"


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds, as its manifest says; the manifest is written last."""

    format: str
    made_by: str
    made: str
    schema_version: int
    ledger_sha256: str
    project_sha256: str
    contents: int
    bytes: int


def backup(project: Path, root: Path, to: Path) -> Backup:
    """Copy the yard at `root` and its project file into the empty folder `to`, while others work on.

    The ledger is copied first and by SQLite itself, so each content that it names lies in the store when
    that is copied; every content is hashed on its way. Raises ProjectError when `to` is not empty,
    RecordError for a damaged content, NoRoom when the disk is full.
    """
    if not (root / "yard.db").is_file():
        raise ProjectError("there is no yard here yet", where=str(root), try_="modelyard up")
    _empty(to)
    with enough_room(to.parent), whole_yard(root, alone=False):
        to.mkdir(parents=True, exist_ok=True)
        to.chmod(0o700)  # it holds what the ledger holds: hashes of keys, and who used what
        back_up(root / "yard.db", to / "yard.db")
        sync_file(to / "yard.db")
        write_whole(to / PROJECT, project.read_bytes())
        contents, size = _copy_contents(root, to)
        made = Backup(
            FORMAT,
            __version__,
            now(),
            SCHEMA_VERSION,
            file_sha256(to / "yard.db"),
            file_sha256(to / PROJECT),
            contents,
            size,
        )
        write_whole(to / MANIFEST, json.dumps(asdict(made), indent=1).encode())
    return made


def restore(start: Path, into: Path) -> Backup:
    """Make a project of a backup in the empty folder `into`; the yard gets its name last.

    Raises ProjectError when `into` is not empty or `start` is no backup, RecordError when anything in the
    backup is not what it was.
    """
    told = _manifest(start)
    part = into / ".yard.part"
    if into.is_dir() and {path.name for path in into.iterdir()} <= {part.name, PROJECT}:
        with suppress(FileNotFoundError):  # a restore that was killed left it
            shutil.rmtree(part)
            (into / PROJECT).unlink()
    _empty(into)
    with enough_room(into.parent):
        part.mkdir(parents=True)
        part.chmod(0o700)
        for name, sha256, target in (
            ("yard.db", told.ledger_sha256, part / "yard.db"),
            (PROJECT, told.project_sha256, into / PROJECT),
        ):
            if _copy(start / name, target) != sha256:
                raise _damaged(start / name)
        contents, size = _copy_contents(start, part)
        if (contents, size) != (told.contents, told.bytes):
            raise _damaged(start / "store")
        ledger = Ledger(part / "yard.db")
        with ledger.read() as connection:
            audit.verify(connection)
        ledger.close()
        part.rename(into / ".yard")
        sync_folder(into)
    return told


def _copy_contents(start: Path, to: Path) -> tuple[int, int]:
    """Copy a store, hashing each content; returns their number and bytes."""
    source, target = Store(start), Store(to)
    count = size = 0
    for sha256 in source.contents():
        place = target.path(sha256)
        place.parent.mkdir(parents=True, exist_ok=True)
        if _copy(source.path(sha256), place) != sha256:
            raise _damaged(source.path(sha256))
        place.chmod(0o444)
        count, size = count + 1, size + place.stat().st_size
    for folder in sorted(target.root.glob("??")):
        sync_folder(folder)
    return count, size


def _copy(source: Path, target: Path) -> str:
    """Copy a file and wait until it is on the disk; returns the sha256 of what was read."""
    sha = hashlib.sha256()
    try:
        with source.open("rb") as reads, target.open("wb") as writes:
            while chunk := reads.read(CHUNK_BYTES):
                sha.update(chunk)
                writes.write(chunk)
            writes.flush()
            os.fsync(writes.fileno())
    except FileNotFoundError:
        raise _damaged(source) from None
    return sha.hexdigest()


def _manifest(start: Path) -> Backup:
    try:
        told = json.loads((start / MANIFEST).read_text("utf-8"))
        found = Backup(**told)
    except (OSError, ValueError, TypeError):
        raise ProjectError(
            "this is no whole backup", where=str(start), try_="the folder that `modelyard backup` wrote"
        ) from None
    if found.format != FORMAT or found.schema_version > SCHEMA_VERSION:
        raise RecordError(
            f"this backup was made by Modelyard {found.made_by}, which is newer",
            where=str(start),
            try_="that release of Modelyard, or a newer one",
        )
    return found


def _empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ProjectError("the folder is not empty", where=str(folder), try_="a new or an empty folder")


def _damaged(path: Path) -> RecordError:
    return RecordError("this is not what it was when it was stored", where=str(path), try_="another backup")
