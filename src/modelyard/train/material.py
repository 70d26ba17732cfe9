"""What a run learns from: the corpus's pairs, or a mixture of its sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import SourceError
from ..prompt import Prompter
from ..records.shapes import Choice
from . import samples
from .packing import Mixture
from .samples import Item, Samples
from .settings import Train


@dataclass(frozen=True, slots=True)
class Material:
    """Items to learn from, the mixture of their sources if one was asked for, and what was left out."""

    found: Samples
    mixture: Mixture | None
    choices: tuple[Choice, ...]


def gather(corpus: Path, prompter: Prompter, train: Train, vocabulary: int) -> Material:
    """Read what `train` asks for from the folder of a Corpus.

    Raises SourceError when nothing is left, and for a source of the mixture that has nothing to learn.
    """
    found = samples.make(
        _items(corpus, prompter, train), longest=train.sequence_tokens, vocabulary=vocabulary
    )
    choices = []
    if found.too_long:
        value = f"{found.too_long} pairs left out"
        why = f"longer than sequence_tokens: {train.sequence_tokens}"
        choices.append(Choice("train.too_long", value, why))
    if found.empty:
        lacking = "their answer has no tokens to learn"
        if train.preference is not None:
            lacking = "they have no rejected answer, or an empty one"
        choices.append(Choice("train.empty", f"{found.empty} pairs left out", lacking))
    return Material(found, _mixture(found, train.mixture), tuple(choices))


def _items(corpus: Path, prompter: Prompter, train: Train) -> Iterator[tuple[str, Item]]:
    of = samples.of_pair if train.preference is None else samples.of_preference
    for pair in samples.read(corpus / "pairs.train.jsonl"):
        if train.mixture is None or pair["source"] in train.mixture:
            yield pair["source"], of(prompter, pair)
    if train.mixture is None or train.preference is not None:
        return
    for document in samples.read(corpus / "documents.jsonl"):
        if document["source"] in train.mixture:
            for item in samples.of_text(prompter, document["text"], train.sequence_tokens):
                yield document["source"], item


def _mixture(found: Samples, told: Mapping[str, float] | None) -> Mixture | None:
    if told is None:
        return None
    names = sorted(told)
    lacking = [name for name in names if name not in found.sources]
    if lacking:
        raise SourceError(
            f"the mixture names {lacking[0]!r}, which has nothing to learn from",
            where="train.mixture",
            try_=f"the path of a source in data.sources; these have: {', '.join(sorted(set(found.sources)))}",
        )
    numbers = {name: number for number, name in enumerate(names)}
    return Mixture(tuple(numbers[one] for one in found.sources), tuple(told[name] for name in names))


def same_words(student: Path, teacher: Path) -> None:
    """Raises SourceError unless the models in two folders know the same tokens by the same numbers."""
    ours, theirs = Prompter(student), Prompter(teacher)
    if ours.vocabulary == theirs.vocabulary and all(
        ours.word(id) == theirs.word(id) for id in range(ours.vocabulary)
    ):
        return
    raise SourceError(
        f"the teacher knows other words than the base: {theirs.vocabulary:,} tokens and {ours.vocabulary:,}",
        where="train.distil.teacher, release.search.students",
        try_="a larger model of the base's own family; or have any model write answers, and learn from those",
    )
