"""What the tests of the data room run the steps with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.records.shapes import FileEntry, Output, SourceFiles, Workspace

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Made:
    """What a step handed back and where its files lie."""

    output: Output
    folder: Path

    def rows(self, name: str) -> Rows:
        return [json.loads(line) for line in (self.folder / name).read_text("utf-8").splitlines()]

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text("utf-8"))

    def pairs(self) -> Rows:
        return [row for part in ("train", "select", "report") for row in self.rows(f"pairs.{part}.jsonl")]

    def rules(self) -> list[str]:
        return [row["rule"] for row in self.rows("dropped.jsonl")]

    def bytes(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.folder.iterdir())}


def fingerprint(name: str, root: Path) -> SourceFiles:
    files = {}
    for path in sorted(root.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            entry = FileEntry(hashlib.sha256(data).hexdigest(), len(data))
            files[path.relative_to(root).as_posix()] = entry
    return SourceFiles(name, root, files)


def workspace(folder: Path) -> Workspace:
    (folder / "out").mkdir(parents=True)
    (folder / "state").mkdir()
    return Workspace(folder, 1, lambda *text, **numbers: None)


Prepare = Index = Callable[..., Made]
