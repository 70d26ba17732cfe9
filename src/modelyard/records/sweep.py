"""Sweeping: drop records that nothing needs, contents that no record names, and dead work folders."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .digest import file_sha256
from .ledger import Ledger
from .shapes import Record
from .store import Store


@dataclass(frozen=True, slots=True)
class Swept:
    """What was dropped, or would be."""

    records: tuple[str, ...]
    contents: int
    work_folders: int
    bytes: int


def ancestors(records: Iterable[Record], every: Iterable[Record]) -> set[str]:
    """The ids of `records` and of all that they were made from."""
    by_id = {record.id: record for record in every}
    found: set[str] = set()
    waiting = [record.id for record in records]
    while waiting:
        id = waiting.pop()
        if id not in found:
            found.add(id)
            waiting += [ancestor for ids in by_id[id].inputs.values() for ancestor in ids]
    return found


def sweep(root: Path, ledger: Ledger, store: Store, keep: set[str], *, dry: bool) -> Swept:
    """Drop every record that is not in `keep`, then what no remaining record names.

    `keep` must hold the ancestors of what it holds. A work folder that a living process holds, or in which
    a killed step left a checkpoint, stays. The caller holds the yard alone (see work.whole_yard).
    """
    every = ledger.find(store)
    gone = [record for record in every if record.id not in keep]
    named = {entry.sha256 for record in every if record.id in keep for entry in record.files.values()}
    loose = [sha256 for sha256 in store.contents() if sha256 not in named]
    dead = [folder for folder in sorted((root / "work").glob("*")) if _is_dead(folder)]
    freed = sum(store.path(sha256).stat().st_size for sha256 in loose)
    freed += sum(path.stat().st_size for folder in dead for path in folder.rglob("*") if path.is_file())
    if not dry:
        ledger.drop([record.id for record in gone])  # newest first: what reads goes before what is read
        shutil.rmtree(store.views, ignore_errors=True)  # views are links; the next reader makes its own
        for sha256 in loose:
            store.drop(sha256)
        for folder in dead:
            shutil.rmtree(folder, ignore_errors=True)
    return Swept(tuple(record.id for record in gone), len(loose), len(dead), freed)


def damaged(ledger: Ledger, store: Store) -> set[str]:
    """The ids of records with a file that is missing or changed, and of all that was made from them."""
    broken: set[str] = set()
    bad = {sha256 for sha256 in store.contents() if file_sha256(store.path(sha256)) != sha256}
    for record in reversed(ledger.find(store)):  # oldest first: what is read comes before what reads it
        files = {entry.sha256 for entry in record.files.values()}
        missing = any(not store.path(sha256).exists() for sha256 in files)
        read = {id for ids in record.inputs.values() for id in ids}
        if missing or files & bad or read & broken:
            broken.add(record.id)
    return broken


def _is_dead(folder: Path) -> bool:
    """Whether nobody works there and nothing in it would let a killed step go on."""
    if any((folder / "state").glob("*")):
        return False
    lock = folder / "lock"
    if not lock.exists():
        return True
    with lock.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
