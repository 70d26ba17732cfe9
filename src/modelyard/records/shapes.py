"""The frozen shapes that flow along the line: facts, choices, steps, records, outputs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import RecordError
from .facts import FACTS


@dataclass(frozen=True, slots=True)
class Fact:
    """A measured number. `value` None means unmeasured, and `why` says why; it is never zero.

    `n` counts the independent things behind it; `low` and `high` bound the interval at `level`.
    """

    value: float | None
    unit: str
    n: int | None = None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    why: str = ""

    def __post_init__(self) -> None:
        for name in ("value", "low", "high", "level"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise ValueError(f"a fact's {name} must be finite, got {number}")
        if self.value is None and not self.why:
            raise ValueError("an unmeasured fact must say why")


@dataclass(frozen=True, slots=True)
class Choice:
    """What a step chose for this machine or this data, and its reason."""

    name: str
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class Step:
    """One arrow of the line. `entry` is imported only when the step runs.

    Two results of the same (name, version, settings, inputs) are interchangeable; a change of
    code that changes results raises `version`. A step that `measures` also has the machine and
    the engine's package versions in its key.
    """

    name: str
    version: int
    entry: str  # "modelyard.train.tune:run"
    measures: bool = False


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of a record or of a source: its content's sha256 and size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class SourceFiles:
    """The files behind one path of the project, fingerprinted before a step may read them."""

    name: str
    root: Path
    files: Mapping[str, FileEntry]  # path relative to root -> content

    def path(self, name: str) -> Path:
        """Where the file `name` lies; for a source that is one file, `root` is that file's folder."""
        return self.root / name


@dataclass(frozen=True, slots=True)
class Record:
    """What one step once made. `folder` holds its files, hash-checked, under their names."""

    id: str  # first 16 digits of the key, then the attempt: unique in a yard
    step: str
    key: str
    digest: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, tuple[str, ...]]  # role -> record ids
    facts: Mapping[str, Fact]
    choices: tuple[Choice, ...]
    files: Mapping[str, FileEntry]
    environment: Mapping[str, Any]
    started: str
    ended: str
    seconds: float
    attempt: int
    view: Callable[[], Path] = field(compare=False, repr=False)
    provisional: str = ""  # why it should be made once more, see Output

    @property
    def folder(self) -> Path:
        """The folder with this record's files, checked against their hashes. Read only."""
        return self.view()

    def json(self, name: str) -> Any:
        """The JSON file `name` of this record."""
        return json.loads((self.folder / name).read_text("utf-8"))

    def fact(self, name: str) -> Fact:
        """The fact `name`, or an unmeasured one that says so."""
        return self.facts.get(name) or Fact(None, FACTS[name].unit, why=f"{self.step} did not measure it")


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a step may read: records by role, and source files by name."""

    records: Mapping[str, tuple[Record, ...]] = field(default_factory=dict)
    sources: tuple[SourceFiles, ...] = ()

    def one(self, role: str) -> Record:
        """The single record in `role`. Raises RecordError when there is none or more than one."""
        found = self.records.get(role, ())
        if len(found) != 1:
            raise RecordError(f"expected one record as {role}, found {len(found)}")
        return found[0]

    def all(self, role: str) -> tuple[Record, ...]:
        """All records in `role`, in the order in which the graph named them."""
        return self.records.get(role, ())


@dataclass(frozen=True, slots=True)
class Output:
    """What a step hands back: its files lie in the workspace's `out` folder.

    `provisional` says what went wrong that may not go wrong again, such as an engine that crashed: the
    record is used now, and the next walk makes it once more.
    """

    facts: Mapping[str, Fact] = field(default_factory=dict)
    choices: tuple[Choice, ...] = ()
    provisional: str = ""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.facts) - set(FACTS))
        if unknown:
            raise ValueError(f"facts without a meaning in records/facts.py: {', '.join(unknown)}")


@dataclass(frozen=True, slots=True)
class Workspace:
    """A running step's folder. It survives a kill; `state` is where checkpoints go.

    `out`: files of the record to be. `state`: whatever lets the step go on after a kill.
    `report`: tells progress; keyword arguments are numbers for the progress view.
    """

    folder: Path
    threads: int
    report: Callable[..., None]

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def state(self) -> Path:
        return self.folder / "state"


def fact_json(facts: Mapping[str, Fact]) -> dict[str, dict[str, Any]]:
    """Facts as plain JSON."""
    return {name: asdict(fact) for name, fact in sorted(facts.items())}
