"""JSON Lines: one object a line."""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .decode import lines

LONGEST_LINE = 16 << 20  # bytes; a longer line is no row but another format


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file: its row, or the rule by which it is no row."""

    number: int
    row: dict[str, Any] | None
    rule: str = ""
    detail: str = ""


def rows(path: Path) -> Iterator[Line]:
    """Every line that is not blank, numbered from 1. A broken gzip ends the file with a broken line."""
    number = 0
    try:
        with lines(path) as stream:
            while data := stream.readline(LONGEST_LINE + 1):
                number += 1
                if number == 1:
                    data = data.removeprefix(codecs.BOM_UTF8)
                if len(data) > LONGEST_LINE:
                    yield Line(number, None, "too_large", f"line {number}")
                    return
                if data.strip():
                    yield _line(number, data)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        yield Line(number + 1, None, "broken_gzip", f"after line {number}")


def _line(number: int, data: bytes) -> Line:
    try:
        row = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError:
        return Line(number, None, "bad_encoding", f"line {number} is not UTF-8")
    except (ValueError, RecursionError) as error:
        at = f", column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        return Line(number, None, "broken_line", f"line {number}{at} is not JSON")
    if not isinstance(row, dict):
        return Line(number, None, "not_an_object", f"line {number}")
    return Line(number, row)
