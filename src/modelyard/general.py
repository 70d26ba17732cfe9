"""General texts of no project, written for this purpose: what a model should not forget over its task."""

from __future__ import annotations

import json
from pathlib import Path

PATH = Path(__file__).with_suffix(".jsonl")


def texts() -> list[tuple[str, str]]:
    """Id and text of each, English and Chinese."""
    rows = map(json.loads, PATH.read_text("utf-8").splitlines())
    return [(row["id"], row["text"]) for row in rows]
