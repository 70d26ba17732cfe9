"""What a record of data.answer holds for data.prepare: each row's answers, and who wrote them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..records.shapes import Record
from . import pairs
from .items import Drop, Pair
from .pairs import Shape
from .questions import filled
from .settings import Answers, Fields

Answer = Mapping[str, Any]  # a row of answers.jsonl


@dataclass(frozen=True, slots=True)
class Written:
    """The answers of a source by the item that they answer, and the generator as the data sheet names it."""

    by_item: Mapping[str, Sequence[Answer]]
    generator: Mapping[str, Any]

    def answers(self, item: str) -> Sequence[Answer]:
        """What was answered to a row; one empty answer where it was not asked, as it is no whole question."""
        return self.by_item.get(item) or ({"sample": 0, "rule": "not_asked"},)


def written(record: Record, answers: Answers) -> Written:
    """The record's answers, under the terms that the project file states now."""
    by_item: dict[str, list[Answer]] = defaultdict(list)
    for line in (record.folder / "answers.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        by_item[row["item"]].append(row)
    told = record.json("generator.json")
    names = ("host", "asked_for", "models", "temperature", "max_tokens", "samples", "instructions")
    generator = {name: told[name] for name in names}
    stated = {"terms": answers.terms, "permits_training": answers.permits_training, "record": record.id}
    return Written(by_item, generator | stated)


def pair(row: Mapping[str, Any], shape: Shape, fields: Fields, answer: Answer, made: Pair) -> Pair:
    """The row of an open shape with one of its answers. Raises Drop where there is none."""
    text = answer.get("answer")
    whole = filled(row, shape, fields, text or "?")
    found = pairs.pair(whole, shape, fields, id=made.id, source=made.source, item=made.item)
    if text is None:
        raise Drop(answer["rule"], answer.get("detail", ""))
    return replace(found, generated_by=answer["model"] or made.generated_by)
