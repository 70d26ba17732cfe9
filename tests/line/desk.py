"""A tiny project with everything: documents, pairs, a random base; the line runs on it in seconds."""

from __future__ import annotations

import json
from pathlib import Path

from tests.tiny import tiny_model

from modelyard.cli.place import Place
from modelyard.flow import Walk, line
from modelyard.records.shapes import Record

THINGS = ("kettle", "lantern", "ladder", "compass", "anvil", "bellows", "chisel", "pulley", "trowel", "winch")
COLOURS = ("red", "blue", "green", "black", "white", "grey")

PROJECT = """version: 1
name: desk
task: {kind: extract, hold_out: {by: thing, select: 0.3, report: 0.3}}
data:
  sources:
    - {path: docs, licence: CC0-1.0, owner: Nobody, basis: own}
    - {path: pairs.jsonl, licence: CC0-1.0, owner: Nobody, basis: own}
ground: {passages: 1}
train:
  base: base
  method: {lora: {rank: 4}}
  budget: {tokens: 3000}
  sequence_tokens: 512
  batch_tokens: 512
  precision: fp32   # named, not measured: two yards that are compared must not differ in it
release:
  gates: {latency.ttft_p95_s.c1: {max: 60}}
  mix: {callers: 2, input_tokens: 40, output_tokens: 6}
  engines: [openvino, llamacpp]
  search: {files: [gguf Q8_0, gguf Q4_0]}
machine: {usd_per_hour: 0.10}
"""


def write_desk(folder: Path) -> Path:
    """Write the project into `folder` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny_model(folder / "base")
    (folder / "docs").mkdir()
    pairs = []
    for at, thing in enumerate(THINGS):
        price, colour = 3 + at, COLOURS[at % len(COLOURS)]
        text = f"# The {thing}\n\nThe {thing} costs {price} coins and its handle is {colour}."
        (folder / "docs" / f"{thing}.md").write_text(text + "\n", "utf-8")
        passage = text
        other = THINGS[(at + 1) % len(THINGS)]
        for question, answer, absent in (
            (f"What does the {thing} cost?", f"{price} coins", False),
            (f"How many coins is the {thing}?", f"{price}", False),
            (f"Which colour is the handle of the {thing}?", colour, False),
            (f"What does the {other} cost?", "NOT STATED", False),
            (f"What does the glass {thing}-{thing} weigh?", "NOT STATED", True),
        ):
            row = {"id": f"{thing}-{len(pairs)}", "thing": thing, "question": question, "passage": passage}
            pairs.append({**row, "document": f"{thing}.md", "answer": answer, "absent": absent})
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs), "utf-8")
    (folder / "modelyard.yaml").write_text(PROJECT, "utf-8")
    return folder


def up(folder: Path) -> tuple[Walk, Record]:
    """What the verb `up` does, in this process."""
    place = Place.at(folder)
    walk = Walk(place.yard, threads=2)
    release = walk.follow(line(place.project, place.folder, place.yard))
    if release is None:
        raise RuntimeError("the line stopped before its end")
    return walk, release
