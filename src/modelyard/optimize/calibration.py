"""Calibration text out of a Corpus: some to measure importance on, some held out to judge the choice by."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SourceError
from ..prompt import Prompter, conversation

LONGEST_PAIR = 1024  # tokens; a pair cut short would lose its answer, so longer ones are passed over
PIECE = 256  # tokens of a document
FEWEST = 4  # texts on either side: fewer give no interval worth its name


@dataclass(frozen=True, slots=True)
class Text:
    """Token ids; the loss is asked where `learn` is true. Texts of one group are alike."""

    ids: tuple[int, ...]
    learn: tuple[bool, ...]
    group: str

    @property
    def labels(self) -> int:
        """Tokens that the loss is asked of."""
        return sum(self.learn)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Texts that importance is measured on, and others, of other groups, that it is judged on."""

    measured: tuple[Text, ...]
    held: tuple[Text, ...]
    source: str


def gather(corpus: Path, prompter: Prompter, count: int, *, seed: int) -> Calibration:
    """Up to `count` texts for each side, drawn from the pairs of `train`, or without them from documents.

    What selection and the report look at is never read. Raises SourceError where there is too little.
    """
    for name, source, of in (
        ("pairs.train.jsonl", "pairs", _of_pair),
        ("documents.jsonl", "documents", _of_document),
    ):
        rows = list(_rows(corpus / name))
        random.Random(seed).shuffle(rows)
        texts = (text for row in rows for text in of(prompter, row))
        measured, held = _sides(texts, count, by_group=_several(rows))
        if min(len(measured), len(held)) >= FEWEST:
            return Calibration(tuple(measured), tuple(held), source)
    raise SourceError(
        f"the corpus has too little text to prune by: {2 * FEWEST} pairs of train or documents at least",
        where="data.sources",
        try_="more pairs or documents, or no release.search.prune",
    )


def _sides(texts: Iterator[Text], count: int, *, by_group: bool) -> tuple[list[Text], list[Text]]:
    """Groups go to either side in turn; where there is only one, its texts do."""
    sides: tuple[list[Text], list[Text]] = ([], [])
    of: dict[str, int] = {}
    for number, text in enumerate(texts):
        side = sides[of.setdefault(text.group if by_group else str(number), len(of) % 2)]
        if len(side) < count:
            side.append(text)
        elif all(len(one) == count for one in sides):
            break
    return sides


def _several(rows: list[dict[str, Any]]) -> bool:
    return len({_group(row) for row in rows}) > 1


def _group(row: Mapping[str, Any]) -> str:
    return str(row.get("group", row["id"]))


def _of_pair(prompter: Prompter, pair: Mapping[str, Any]) -> Iterator[Text]:
    ids: list[int] = []
    learn: list[bool] = []
    for turn in prompter.turns(conversation(pair)):
        ids += turn.ids
        learn += [turn.learn] * len(turn.ids)
    if len(ids) <= LONGEST_PAIR and any(learn[1:]):
        yield Text(tuple(ids), (False, *learn[1:]), _group(pair))


def _of_document(prompter: Prompter, row: Mapping[str, Any]) -> Iterator[Text]:
    ids = prompter.encode(prompter.special["bos_token"] + row["text"][: PIECE * 8])[:PIECE]
    if len(ids) > 1:
        yield Text(tuple(ids), (False, *[True] * (len(ids) - 1)), _group(row))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_file():
        with path.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)
