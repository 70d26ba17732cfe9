"""A node of the line: a step, what it is told, and what it reads. Its key says all three."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from ..records.digest import digest
from ..records.settings import Settings
from ..records.shapes import Inputs, Record, SourceFiles, Step

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Node:
    """One piece of work. `measured_with` holds what a measurement depends on besides its inputs:
    the machine's id and the versions of the engine's packages.
    """

    step: Step
    settings: Settings
    inputs: Mapping[str, tuple[Record, ...]] = field(default_factory=dict)
    sources: tuple[SourceFiles, ...] = ()
    measured_with: Mapping[str, str] = field(default_factory=dict)
    label: str = ""
    audited: Mapping[str, Any] | None = None
    """What the audit log is told before it runs, where asking alone is something to account for."""

    @property
    def key(self) -> str:
        """What is asked, as a digest: the same key means that there is nothing to do."""
        return digest("key", self.question())

    def question(self) -> dict[str, Any]:
        """What the key is made of. Paths of this machine are not in it, only names and contents."""
        return {
            "step": self.step.name,
            "version": self.step.version,
            "settings": self.settings.model_dump(mode="json"),
            "inputs": {role: [record.digest for record in records] for role, records in self.inputs.items()},
            "sources": [
                {"name": source.name, "files": {name: entry.sha256 for name, entry in source.files.items()}}
                for source in self.sources
            ],
            "measured_with": dict(self.measured_with),
        }

    def given(self) -> Inputs:
        """What the step may read."""
        return Inputs(self.inputs, self.sources)

    @property
    def name(self) -> str:
        """The step, and which of its nodes this is."""
        return f"{self.step.name} {self.label}".rstrip()


# A line proposes nodes and is sent their records: what comes next may depend on what was measured.
# The nodes of one proposal do not depend on one another, so that they may run side by side.
Line: TypeAlias = Generator[tuple[Node, ...], tuple[Record, ...], T]
