"""From pairs and documents to samples: token ids, and which of them the model is to learn to write."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SourceError
from ..prompt import Message, Prompter, conversation


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


Item = tuple[Sample, ...]
"""What is learned as one: a sample, or the preferred answer and the rejected one."""


@dataclass(frozen=True, slots=True)
class Samples:
    """What can be learned from, each item's source, and how many were too long or had nothing to learn."""

    kept: tuple[Item, ...]
    sources: tuple[str, ...]
    too_long: int
    empty: int

    @property
    def lengths(self) -> list[int]:
        """Tokens of each item."""
        return [length(item) for item in self.kept]


def length(item: Item) -> int:
    """Tokens of an item's samples together."""
    return sum(map(len, item))


def sample(prompter: Prompter, messages: Sequence[Message]) -> Sample:
    """A conversation, its answers to be learned and all else only to be read."""
    ids: list[int] = []
    learn: list[bool] = []
    for turn in prompter.turns(messages):
        ids += turn.ids
        learn += [turn.learn] * len(turn.ids)
    if learn:
        learn[0] = False  # nothing stands before the first token that could predict it
    return Sample(tuple(ids), tuple(learn))


def of_pair(prompter: Prompter, pair: Mapping[str, Any]) -> Item:
    """A pair's conversation."""
    return (sample(prompter, conversation(pair)),)


def of_preference(prompter: Prompter, pair: Mapping[str, Any]) -> Item:
    """The right and the rejected answer to one prompt, of which the last answer alone is learned.

    Nothing to be learned where the pair has no rejected answer.
    """
    if pair.get("rejected") is None:
        return (Sample((), ()),)
    *before, right = conversation(pair)
    prompt = prompter.prompt(before)
    answers = ([*prompter.encode(text), prompter.end] for text in (right["content"], pair["rejected"]))
    return tuple(
        Sample((*prompt, *answer), (*[False] * len(prompt), *[True] * len(answer))) for answer in answers
    )


def of_text(prompter: Prompter, text: str, longest: int) -> Iterator[Item]:
    """A document in pieces of at most `longest` tokens, all of them to be learned.

    It begins with the token that begins a text, where the tokenizer has one.
    """
    ids = prompter.encode(prompter.special["bos_token"] + text)
    for at in range(0, len(ids), longest):
        piece = tuple(ids[at : at + longest])
        if len(piece) > 1:
            yield (Sample(piece, (False, *[True] * (len(piece) - 1))),)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON Lines file."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line)
            except ValueError:
                raise SourceError("a line is no JSON", where=f"{path.name}:{number}") from None


def make(items: Iterable[tuple[str, Item]], *, longest: int, vocabulary: int) -> Samples:
    """All items (source, item) of at most `longest` tokens.

    Raises SourceError when none is left, or when the tokenizer knows tokens that the model does not.
    """
    kept, sources, too_long, empty, shortest = [], [], 0, 0, 0
    for source, item in items:
        if not all(one.labels for one in item):
            empty += 1
        elif length(item) > longest:
            too_long += 1
            shortest = min(shortest or length(item), length(item))
        else:
            kept.append(item)
            sources.append(source)
    if not kept:
        if too_long:
            raise SourceError(
                f"all {too_long} pairs are longer than {longest} tokens; the shortest has {shortest}",
                where="train.sequence_tokens",
                try_=f"sequence_tokens: {shortest} or more, or shorter passages",
            )
        raise SourceError("the corpus has no pair to learn from", try_="pairs with an answer in data.sources")
    highest = max(max(one.ids) for item in kept for one in item)
    if highest >= vocabulary:
        raise SourceError(
            f"the tokenizer makes token {highest}, and the model knows {vocabulary} tokens",
            where="train.base",
            try_="the tokenizer that belongs to the model",
        )
    return Samples(tuple(kept), tuple(sources), too_long, empty)
