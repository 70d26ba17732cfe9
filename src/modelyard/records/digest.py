"""One canonical encoding and the two hashes made with it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 20  # large enough that hashing, not reading, is the cost


def canonical(value: Any) -> bytes:
    """`value` as JSON with one spelling: sorted keys, no spaces, UTF-8, no NaN.

    Raises ValueError for NaN and infinity, TypeError for what JSON cannot hold.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def digest(kind: str, value: Any) -> str:
    """sha256 (64 hex digits) of `value`, its kind in the pre-image so that no two kinds collide."""
    return hashlib.sha256(canonical([kind, value])).hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, read in pieces."""
    sha = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            sha.update(chunk)
    return sha.hexdigest()
