"""Records and pairs made by hand, for tests and for the child processes that they kill."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelyard.records.shapes import Inputs, Record

TRAIN: dict[str, Any] = {
    "method": {"lora": {"rank": 4}},
    "budget": {"tokens": 6000},
    "sequence_tokens": 256,
    "batch_tokens": 512,
    "precision": "fp32",
    "learning_rate": 5e-3,
}


def pair(number: int) -> dict[str, Any]:
    """A pair about a made-up parameter; passages differ in length."""
    name = f"p{number}"
    passage = (
        f"The parameter {name} of the call. " * (1 + number % 4) + f"The default of {name} is {number % 10}."
    )
    return {
        "id": name,
        "source": "pairs.jsonl",
        "group": name,
        "kind": "default",
        "question": f"Which default has {name}?",
        "document": None,
        "passage": passage,
        "answer": str(number % 10),
        "absent": False,
    }


def write_corpus(folder: Path, pairs: list[Mapping[str, Any]] | None = None) -> Path:
    rows = pairs if pairs is not None else [pair(number) for number in range(40)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "pairs.train.jsonl").write_text(text, "utf-8")
    return folder


def record(step: str, folder: Path) -> Record:
    return Record("r", step, "k", "d", {}, {}, {}, (), {}, {}, "", "", 0.0, 1, lambda: folder)


def inputs(corpus: Path, base: Path) -> Inputs:
    return Inputs({"corpus": (record("data.prepare", corpus),), "model": (record("train.base", base),)})
