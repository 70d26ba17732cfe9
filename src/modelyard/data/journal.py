"""What a larger model has said so far: on the disk before it counts, so that no answer is paid for twice."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Journal:
    """Rows by item and sample, appended to `path`. A line that a kill cut short is forgotten."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self.rows: dict[tuple[str, int], dict[str, Any]] = {}
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        for line in whole.splitlines():
            row = json.loads(line)
            self.rows[row["item"], row["sample"]] = row
        self._stream = path.open("r+b")
        self._stream.truncate(len(whole))
        self._stream.seek(len(whole))

    def write(self, row: dict[str, Any]) -> None:
        """Keep a row; it is on the disk when this returns."""
        self._stream.write(json.dumps(row, sort_keys=True, allow_nan=False).encode("ascii") + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self.rows[row["item"], row["sample"]] = row

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
