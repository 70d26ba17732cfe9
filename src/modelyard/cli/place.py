"""Where a verb works: the project file, its folder and its yard."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .. import environments, machine
from ..project import Project, find, load
from ..records.yard import Yard


@dataclass(frozen=True)
class Place:
    """A project on this machine."""

    file: Path

    @classmethod
    def at(cls, folder: Path) -> Place:
        """The project in `folder` or the nearest above it. Raises ProjectError."""
        place = cls(find(folder))
        environments.use(place.folder / ".yard" / "env")
        return place

    @property
    def folder(self) -> Path:
        return self.file.parent

    @cached_property
    def project(self) -> Project:
        return load(self.file)

    @cached_property
    def yard(self) -> Yard:
        return Yard(self.folder / ".yard")

    @property
    def threads(self) -> int:
        return self.project.machine.threads or machine.cores()
