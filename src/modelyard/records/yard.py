"""A yard: the folder `.yard/` beside a project file, with its store, ledger and work folders."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from ..errors import ProjectError
from .ledger import Ledger
from .shapes import Record
from .store import Store


class Yard:
    """Everything that a project ever made. Opening one that does not exist makes it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store(root)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.root / "yard.db")

    @property
    def exists(self) -> bool:
        return (self.root / "yard.db").is_file()

    def newest(self, key: str) -> Record | None:
        """The newest record made under `key`."""
        return self.ledger.newest(key, self.store) if self.exists else None

    def find(self, *, step: str | None = None, id: str | None = None) -> list[Record]:
        """Records, newest first."""
        return self.ledger.find(self.store, step=step, id=id) if self.exists else []

    def one(self, id: str) -> Record:
        """The record whose id begins with `id`. Raises ProjectError when none or several do."""
        found = self.find(id=id)
        if len(found) != 1:
            raise ProjectError(
                f"{len(found)} records have an id that begins with {id!r}",
                where=str(self.root),
                try_="`modelyard status` lists the records",
            )
        return found[0]
