"""Walking a line: each node is kept when its key is known, else it runs; a kill costs one step at most."""

from __future__ import annotations

import importlib
import itertools
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, TypeVar

from .. import __version__, machine
from ..errors import ModelyardError, ProjectError, Refused, SourceError
from ..records import audit
from ..records.clock import now
from ..records.files import enough_room
from ..records.runs import running
from ..records.shapes import Output, Record, Workspace
from ..records.store import manifest_digest
from ..records.work import clear, hold, whole_yard
from ..records.yard import Yard
from .node import Line, Node
from .sources import changed

T = TypeVar("T")

ATTEMPTS = 2  # at a record that is provisional

State = Literal["kept", "ran", "refused", "failed", "stale"]

# Packages whose version can change a result; those that are installed go into the record.
PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "safetensors",
    "tokenizers",
    "gguf",
    "openvino-genai",
    "openvino",
    "xllamacpp",
    "numpy",
)


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a node."""

    node: Node
    state: State
    record: Record | None
    seconds: float


class Stop(Exception):
    """The walk ends before the line does."""


class Stale(Stop):
    """A node has no record and must not run."""

    def __init__(self, node: Node) -> None:
        super().__init__(node.name)
        self.node = node


class Watcher:
    """Sees a walk as it goes; the verbs subclass it to print."""

    def begins(self, node: Node) -> None:
        """A node starts to run."""

    def progress(self, node: Node, line: dict[str, Any]) -> None:
        """A running node tells how far it is."""

    def ends(self, done: Done) -> None:
        """A node was kept, ran, was refused or failed."""


class Walk:
    """Makes the records of a line in a yard, here, one after the other.

    `again`: a step whose kept records are made once more. `to`: the step after which to stop.
    `may_run`: steps that may run; None for all. A node that may not run raises Stale.
    """

    def __init__(
        self,
        yard: Yard,
        *,
        threads: int,
        watcher: Watcher | None = None,
        verb: str = "up",
        again: str | None = None,
        to: str | None = None,
        may_run: Callable[[Node], bool] = lambda node: True,
    ) -> None:
        self.yard = yard
        self.done: list[Done] = []
        self._threads = threads
        self._watcher = watcher or Watcher()
        self._verb = verb
        self._again = again
        self._to = to
        self._may_run = may_run

    def follow(self, line: Line[T]) -> T | None:
        """Follow `line` to its end and return its value; None when it stopped at `to`."""
        try:
            nodes = next(line)
            while True:
                records = self._all(nodes)
                if self._to is not None and any(node.step.name == self._to for node in nodes):
                    return None
                nodes = line.send(records)
        except StopIteration as end:
            value: T = end.value
        finally:
            line.close()
        for name in (self._to, self._again):
            if name is not None and name not in {done.node.step.name for done in self.done}:
                raise ProjectError(
                    f"this project has no step {name}", try_="`modelyard status` lists its steps"
                )
        return value

    def _all(self, nodes: tuple[Node, ...]) -> tuple[Record, ...]:
        """The records of one proposal. All its nodes are looked at before a stale one ends the walk."""
        records, stale = [], []
        for node in nodes:
            try:
                records.append(self._make(node))
            except Stale as found:
                stale.append(found)
        if stale:
            raise stale[0]
        return tuple(records)

    def _make(self, node: Node) -> Record:
        key = node.key
        kept = self.yard.newest(key)
        # What an engine's crash left unmeasured is measured once more; a second failure stands.
        stands = kept is not None and (not kept.provisional or kept.attempt >= ATTEMPTS)
        if kept and node.step.name != self._again and (stands or not self._may_run(node)):
            return self._tell(Done(node, "kept", kept, 0.0), kept)
        if not self._may_run(node):
            self._tell(Done(node, "stale", None, 0.0), None)
            raise Stale(node)
        self._watcher.begins(node)
        begun = time.perf_counter()
        if node.audited is not None:
            self._audit(f"{node.step.name}.asked", key, node.audited)
        try:
            made = self._run(node, key, attempt=kept.attempt + 1 if kept else 1)
        except ModelyardError as error:
            state: State = "refused" if isinstance(error, Refused) else "failed"
            if isinstance(error, Refused) and error.audited is not None:
                self._audit(f"{node.step.name}.refused", key, error.audited)
            self._tell(Done(node, state, None, time.perf_counter() - begun), None)
            raise
        return self._tell(Done(node, "ran", made, made.seconds), made)

    def _audit(self, action: str, subject: str, body: Mapping[str, Any]) -> None:
        with self.yard.ledger.write() as connection:
            if not audit.has(connection, action, subject):
                audit.append(connection, action, subject, dict(body))

    def _tell(self, done: Done, record: T) -> T:
        self.done.append(done)
        self._watcher.ends(done)
        return record

    def _run(self, node: Node, key: str, *, attempt: int) -> Record:
        root, store, ledger = self.yard.root, self.yard.store, self.yard.ledger
        work = f"{key}" if attempt == 1 else f"{attempt}-{key}"

        def progress(line: dict[str, Any]) -> None:
            self._watcher.progress(node, line)

        with (
            whole_yard(root, alone=False),
            hold(root, work, threads=self._threads, progress=progress) as space,
            running(ledger, self._verb, node.step.name, key),
        ):
            made_meanwhile = self.yard.newest(key)  # by the process that held the folder before us
            if made_meanwhile and made_meanwhile.attempt >= attempt:
                return made_meanwhile
            started, clock = _started(space), time.perf_counter()
            module, _, function = node.step.entry.partition(":")
            with enough_room(root):
                output: Output = getattr(importlib.import_module(module), function)(
                    node.settings, node.given(), space
                )
            if written := changed(self.yard, node.sources):
                raise SourceError(
                    f"{written[0]} was written while {node.step.name} read it",
                    where=", ".join(written[:5]),
                    try_="`modelyard up` once whatever writes there has ended",
                )
            with enough_room(root):
                files = store.take(space.out)
            seconds = round(_spent(space, time.perf_counter() - clock), 3)
            record = Record(
                id=f"{key[:16]}-{attempt}",
                step=node.step.name,
                key=key,
                digest=manifest_digest(files),
                settings=node.settings.model_dump(mode="json"),
                inputs={role: tuple(r.id for r in records) for role, records in node.inputs.items()},
                facts=output.facts,
                choices=output.choices,
                files=files,
                environment=_environment(node),
                started=started,
                ended=now(),
                seconds=seconds,
                attempt=attempt,
                view=lambda: store.view(files),
                provisional=output.provisional,
            )
            ledger.put(record)
        clear(root, work)
        return record


def _started(space: Workspace) -> str:
    """When the step first started; a kill does not change it."""
    mark = space.folder / "started"
    if not mark.exists():
        mark.write_text(now(), "ascii")
    return mark.read_text("ascii") or now()


def _spent(space: Workspace, this_time: float) -> float:
    """Seconds of work, those of earlier killed starts included as far as their progress tells."""
    progress = space.folder / "progress.jsonl"
    if not progress.exists():
        return this_time
    times = []
    for line in progress.read_text("utf-8").splitlines():
        try:
            times.append(float(json.loads(line)["at"]))
        except ValueError:
            continue  # the line that a kill cut short
    mine = time.time() - this_time
    before = [at for at in times if at < mine]
    gaps = [later - at for at, later in itertools.pairwise(before)]
    return this_time + sum(gap for gap in gaps if gap < 60)  # a longer silence is the time between two starts


def _environment(node: Node) -> dict[str, Any]:
    here = machine.this()
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "modelyard": __version__,
        "machine": {"id": here.id, "cpu": here.cpu, "cores": here.cores, "memory_gib": here.memory_gib},
        "kind": here.kind,
        "packages": packages,
        "measured_with": dict(node.measured_with),
    }
