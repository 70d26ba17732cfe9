"""What a source holds before anything was prepared: documents, pairs and tokens, well enough to plan by."""

from __future__ import annotations

import gzip
import zlib
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from .files import files
from .pairs import shape
from .readers import READABLE, ROWS, suffix
from .readers.decode import lines
from .readers.jsonl import rows
from .settings import HoldOut, Source
from .split import part_named

MOST_ROWS = 20_000  # of a file that are read; what comes after is as these are
BYTES_PER_TOKEN = 4.0  # of English prose in UTF-8; markup counts along, and a gzipped page as it is
BLOCK = 1 << 20  # bytes


@dataclass(slots=True)
class Glance:
    """Before duplicates and what cannot be read are dropped."""

    documents: float = 0.0
    pairs: float = 0.0
    """To tune on: what is held out is taken off."""
    tokens: float = 0.0
    """Of the documents."""

    def __add__(self, other: Glance) -> Glance:
        return Glance(self.documents + other.documents, self.pairs + other.pairs, self.tokens + other.tokens)


def glance(source: Source, path: Path, hold_out: HoldOut) -> Glance | None:
    """Count the files and rows of a source; None where nothing is there yet. Raises OSError."""
    found = files(path)
    if not found:
        return None
    total = Glance()
    for file in found:
        if suffix(file.name) == ROWS:
            total += _rows(source, file, hold_out)
        elif suffix(file.name) in READABLE:
            total += Glance(documents=1, tokens=file.stat().st_size / BYTES_PER_TOKEN)
    return total


def _rows(source: Source, file: Path, hold_out: HoldOut) -> Glance:
    text = source.fields.text or "text"
    found = Glance()
    seen = [line.row for line in islice(rows(file), MOST_ROWS)]
    for row in seen:
        known = shape(row, source.fields) if row is not None else None
        if row is None or known is None:
            continue
        if known == "document":
            size = len(str(row[text]).encode("utf-8", "replace"))
            found += Glance(documents=1, tokens=size / BYTES_PER_TOKEN)
            continue
        part = part_named(row.get("split"))
        learnt = 1 - hold_out.select - hold_out.report if part is None else float(part == "train")
        found += Glance(pairs=learnt)
    more = _lines(file) / len(seen) if len(seen) == MOST_ROWS else 1.0
    return Glance(found.documents * more, found.pairs * more, found.tokens * more)


def _lines(file: Path) -> int:
    """Of a file with more than are read; up to where its gzip breaks."""
    count = 0
    with suppress(EOFError, zlib.error, gzip.BadGzipFile), lines(file) as stream:
        while block := stream.read(BLOCK):
            count += block.count(b"\n")
    return max(count, MOST_ROWS)
