"""Near-duplicates: MinHash finds candidates, the true Jaccard similarity of word 5-grams decides."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray

from ..index import UNSPACED
from ..prompt import NOT_STATED
from .clean import same
from .items import Pair

WORDS = 5  # words a shingle
_PERMUTATIONS = 128
# Candidates are verified, so a miss costs more than a false one.
_WEIGHTS = (0.1, 0.9)

_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
_MIX = np.array(
    [0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F],
    dtype=np.uint64,
)

Shingles = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Near:
    """An item that says the same as another: their positions and Jaccard similarity."""

    at: int
    other: int
    similarity: float


class Shingler:
    """Texts as sorted arrays of 64-bit hashes of their word 5-grams."""

    def __init__(self) -> None:
        self._words: dict[str, int] = {}

    def shingles(self, text: str) -> Shingles:
        """The distinct shingles of `text`; a text shorter than one shingle is one as a whole."""
        words = [self._word(word) for word in _WORD.findall(text.casefold())]
        if not words:
            return np.empty(0, dtype=np.uint64)
        words += [0] * (WORDS - len(words))
        hashes = np.array(words, dtype=np.uint64)
        mixed = np.zeros(len(words) - WORDS + 1, dtype=np.uint64)
        for i in range(WORDS):
            mixed = (mixed ^ hashes[i : len(words) - WORDS + 1 + i]) * _MIX[i]
            mixed ^= mixed >> np.uint64(29)
        return np.unique(mixed)

    def _word(self, word: str) -> int:
        known = self._words.get(word)
        if known is None:
            known = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
            self._words[word] = known
        return known


def jaccard(one: Shingles, other: Shingles) -> float:
    """Shared shingles divided by all; 0 when both are empty."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    union = len(one) + len(other) - shared
    return shared / union if union else 0.0


def near_duplicates(texts: Sequence[str], threshold: float) -> list[Near]:
    """The texts that are near-duplicates of an earlier one that stays, which is the `other` of each."""
    index = _Index(texts, threshold)
    found = []
    for at in range(len(texts)):
        near = next(index.near(at), None)
        if near:
            found.append(near)
        else:
            index.insert(at)
    return found


def leaks(pairs: Sequence[Pair], against: Sequence[Pair], threshold: float) -> list[Near]:
    """The pairs that say what one of `against` says: positions in `pairs` and in `against`.

    Pairs with passages: near-duplicate passages, and either the same answer that is stated or questions
    whose words are that similar. So two questions about one passage stay apart, and one template over
    different passages does too. Pairs without: near-duplicate question and answer together, or the same
    question.
    """
    found = {near.at: near for near in _passage_leaks(pairs, against, threshold)}
    for near in _plain_leaks(pairs, against, threshold):
        found.setdefault(near.at, near)
    return [found[at] for at in sorted(found)]


def _passage_leaks(pairs: Sequence[Pair], against: Sequence[Pair], threshold: float) -> Iterator[Near]:
    # Many pairs share a passage: each distinct passage is compared once.
    ours, theirs = _by_passage(pairs), _by_passage(against)
    passages = list(theirs) + [passage for passage in ours if passage not in theirs]
    index = _Index(passages, threshold)
    for at in range(len(theirs)):
        index.insert(at)
    questions = [frozenset(_WORD.findall(pair.question.casefold())) for pair in pairs]
    their_questions = [frozenset(_WORD.findall(pair.question.casefold())) for pair in against]
    for passage_at, passage in enumerate(passages):
        if passage not in ours:
            continue
        others = [(at, 1.0) for at in theirs.get(passage, ())]
        others += [
            (at, near.similarity) for near in index.near(passage_at) for at in theirs[passages[near.other]]
        ]
        for at in ours[passage]:
            for other, similarity in others:
                stated = pairs[at].answer != NOT_STATED and same(pairs[at].answer) == same(
                    against[other].answer
                )
                if stated or _overlap(questions[at], their_questions[other]) >= threshold:
                    yield Near(at, other, similarity)
                    break


def _plain_leaks(pairs: Sequence[Pair], against: Sequence[Pair], threshold: float) -> Iterator[Near]:
    ours = [at for at, pair in enumerate(pairs) if not pair.passage]
    theirs = [at for at, pair in enumerate(against) if not pair.passage]
    texts = [_whole(against[at]) for at in theirs] + [_whole(pairs[at]) for at in ours]
    index = _Index(texts, threshold)
    asked: dict[str, int] = {}
    for i, at in enumerate(theirs):
        index.insert(i)
        asked.setdefault(_asked(against[at]), at)
    for i, at in enumerate(ours, len(theirs)):
        question = _asked(pairs[at])
        if question in asked:
            yield Near(at, asked[question], 1.0)
        elif near := next(index.near(i), None):
            yield Near(at, theirs[near.other], near.similarity)


class _Index:
    """Texts by position; those inserted can be found by their near-duplicates."""

    def __init__(self, texts: Sequence[str], threshold: float) -> None:
        shingler = Shingler()
        self._threshold = threshold
        self._shingles = [shingler.shingles(text) for text in texts]
        # MinHash takes 32 bits; these are well mixed already, so they are not hashed again.
        low = ((shingles >> np.uint64(32)).tolist() for shingles in self._shingles)
        self._hashes = MinHash.bulk(low, num_perm=_PERMUTATIONS, hashfunc=int)
        self._lsh = MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS, weights=_WEIGHTS)

    def insert(self, at: int) -> None:
        if len(self._shingles[at]):
            self._lsh.insert(at, self._hashes[at], check_duplication=False)

    def near(self, at: int) -> Iterator[Near]:
        """Inserted texts that are similar enough, in order; never the text itself."""
        if not len(self._shingles[at]):
            return
        for other in sorted(self._lsh.query(self._hashes[at])):
            if other != at:
                similarity = jaccard(self._shingles[at], self._shingles[other])
                if similarity >= self._threshold:
                    yield Near(at, other, similarity)


def _by_passage(pairs: Sequence[Pair]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for at, pair in enumerate(pairs):
        if pair.passage:
            found[same(pair.passage)].append(at)
    return found


def _whole(pair: Pair) -> str:
    return "\n".join(message["content"] for message in pair.messages) or f"{pair.question}\n{pair.answer}"


def _asked(pair: Pair) -> str:
    said = (message["content"] for message in pair.messages if message["role"] == "user")
    return same("\n".join(said) or pair.question)


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one or other else 0.0
