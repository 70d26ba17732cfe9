"""Rows that have a question and no answer: how they are asked, and the row with an answer filled in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..prompt import conversation
from ..records.shapes import SourceFiles
from . import pairs
from .items import Drop
from .pairs import Shape
from .readers import ROWS, suffix
from .readers.jsonl import rows
from .redact import Redactor
from .settings import AnswerSettings, Fields

_OPEN = "?"  # stands for the answer to come, so that a row is read and redacted as a whole pair is


@dataclass(frozen=True, slots=True)
class Question:
    """What is put before the larger model for the row `item`; `sample` counts the answers to one row."""

    item: str
    sample: int
    messages: tuple[Mapping[str, str], ...]


def questions(settings: AnswerSettings, files: SourceFiles) -> Iterator[Question]:
    """Every row to be answered, in order, personal data replaced. Rows that cannot be a pair are passed over:
    data.prepare drops them by their rule."""
    redactor = Redactor(settings.redact, settings.phone_region)
    fields, answers = settings.fields, settings.answers
    for name in sorted(files.files):
        if suffix(name) != ROWS:
            continue
        for line in rows(files.path(name)):
            shape = open_shape(line.row, fields) if line.row is not None else None
            if line.row is None or shape is None:
                continue
            item = f"{name}:{line.number}"
            try:
                whole = filled(line.row, shape, fields, _OPEN)
                pair = pairs.pair(whole, shape, fields, id=item, source=settings.path, item=item)
            except Drop:
                continue
            messages = conversation(redactor.pair(pair)[0].row())[:-1]
            asked = tuple(_instructed(messages, answers.instructions))
            yield from (Question(item, sample, asked) for sample in range(answers.samples))


def open_shape(row: Mapping[str, Any], fields: Fields) -> Shape | None:
    """The shape of a row that has a question and no answer; None for any other row."""
    talks: tuple[tuple[Shape, str, str, str], ...] = (
        ("messages", fields.messages or "messages", "role", "content"),
        ("sharegpt", "conversations", "from", "value"),
    )
    for shape, name, role, content in talks:
        if isinstance(row.get(name), list):
            said = [turn for turn in row[name] if isinstance(turn, dict) and turn.get(content)]
            return shape if said and said[-1].get(role) in ("user", "human") else None
    if "chosen" in row or "rejected" in row:
        return None
    singles: tuple[tuple[Shape, str, str], ...] = (
        ("native", fields.question or "question", fields.answer or "answer"),
        ("alpaca", "instruction", "output"),
        ("prompt", "prompt", "completion"),
    )
    for shape, question, answer in singles:
        if question in row:
            return shape if row.get(answer) in (None, "", []) else None
    return None


def filled(row: Mapping[str, Any], shape: Shape, fields: Fields, answer: str) -> dict[str, Any]:
    """The row of an open `shape` with its answer."""
    if shape in ("messages", "sharegpt"):
        name = "conversations" if shape == "sharegpt" else fields.messages or "messages"
        last = {"from": "gpt", "value": answer} if shape == "sharegpt" else _said(answer)
        return {**row, name: [*row[name], last]}
    if shape == "prompt":
        return {**row, "completion": [_said(answer)] if isinstance(row["prompt"], list) else answer}
    return {**row, "output" if shape == "alpaca" else fields.answer or "answer": answer}


def _said(answer: str) -> dict[str, str]:
    return {"role": "assistant", "content": answer}


def _instructed(messages: list[dict[str, str]], instructions: str | None) -> list[dict[str, str]]:
    if not instructions:
        return messages
    if messages[0]["role"] != "system":
        return [{"role": "system", "content": instructions}, *messages]
    return [{"role": "system", "content": f"{instructions}\n\n{messages[0]['content']}"}, *messages[1:]]
