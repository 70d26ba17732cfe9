"""From pairs to samples: token ids, and which of them the model is to learn to write."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SourceError
from ..prompt import Prompter, conversation


@dataclass(frozen=True, slots=True)
class Sample:
    """A conversation as token ids; `learn[i]` is true where the model is to write ids[i].

    `reference`: the loss (nats) that the model had on it before training, where the method asks for it.
    """

    ids: tuple[int, ...]
    learn: tuple[bool, ...]
    reference: float = 0.0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> int:
        """Tokens that the model is to write."""
        return sum(self.learn)


@dataclass(frozen=True, slots=True)
class Samples:
    """What can be learned from, and how many pairs were too long for a row or had nothing to learn."""

    kept: tuple[Sample, ...]
    too_long: int
    empty: int


def sample(prompter: Prompter, pair: Mapping[str, Any]) -> Sample:
    """One pair, its answers to be learned and all else only to be read."""
    ids: list[int] = []
    learn: list[bool] = []
    for turn in prompter.turns(conversation(pair)):
        ids += turn.ids
        learn += [turn.learn] * len(turn.ids)
    if learn:
        learn[0] = False  # nothing stands before the first token that could predict it
    return Sample(tuple(ids), tuple(learn))


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON Lines file."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line)
            except ValueError:
                raise SourceError("a line is no JSON", where=f"{path.name}:{number}") from None


def make(prompter: Prompter, pairs: Iterable[Mapping[str, Any]], *, longest: int, vocabulary: int) -> Samples:
    """All pairs as samples of at most `longest` tokens.

    Raises SourceError when none is left, or when the tokenizer knows tokens that the model does not.
    """
    kept, too_long, empty, shortest = [], 0, 0, 0
    for pair in pairs:
        one = sample(prompter, pair)
        if not one.labels:
            empty += 1
        elif len(one) > longest:
            too_long += 1
            shortest = min(shortest or len(one), len(one))
        else:
            kept.append(one)
    if not kept:
        if too_long:
            raise SourceError(
                f"all {too_long} pairs are longer than {longest} tokens; the shortest has {shortest}",
                where="train.sequence_tokens",
                try_=f"sequence_tokens: {shortest} or more, or shorter passages",
            )
        raise SourceError("the corpus has no pair to learn from", try_="pairs with an answer in data.sources")
    highest = max(max(one.ids) for one in kept)
    if highest >= vocabulary:
        raise SourceError(
            f"the tokenizer makes token {highest}, and the model knows {vocabulary} tokens",
            where="train.base",
            try_="the tokenizer that belongs to the model",
        )
    return Samples(tuple(kept), too_long, empty)
