"""What is put before the model for a question, and whether its answer states anything.

Measuring, `try` and serving all ask here.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .prompt import NOT_STATED, Prompter, ask

if TYPE_CHECKING:
    from .index.bm25 import Bm25, Hit

QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’", "«": "»", "「": "」", "『": "』"}
FULL_STOPS = ".。．"


@dataclass(frozen=True, slots=True)
class Grounded:
    """Token ids to ask the model with, and the passages in them, the best first (none without an index)."""

    prompt: tuple[int, ...]
    hits: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class NotStated:
    """The answer is NOT STATED without asking the model; `hits` are what was found, too far off."""

    hits: tuple[Hit, ...]
    why: str


def put(prompter: Prompter, index: Bm25 | None, question: str, *, passages: int = 1) -> Grounded | NotStated:
    """Find up to `passages` passages for the question and render the prompt.

    Below the index's score limit the answer is NOT STATED. Without an index the model is asked the bare
    question.
    """
    if index is None:
        return Grounded(tuple(prompter.prompt(ask(question))), ())
    hits = tuple(index.search(question, passages))
    if not hits:
        return NotStated((), "no passage shares a word with the question")
    if not index.stated(hits):
        return NotStated(
            hits, f"the best passage scores {hits[0].score:.3g}, below the limit of {index.limit:.3g}"
        )
    return Grounded(tuple(prompter.prompt(ask(question, [hit.text for hit in hits]))), hits)


def normal(text: str) -> str:
    """NFC, white space collapsed, surrounding quotes, backticks and a final full stop removed, case kept.

    What would leave nothing stays: an answer that is itself `''` or `.` is not the empty answer. An ellipsis
    is not a full stop.
    """
    text = " ".join(unicodedata.normalize("NFC", text).split())
    while True:
        shorter = _bare(text)
        if not shorter or shorter == text:
            return text
        text = shorter


def is_not_stated(answer: str) -> bool:
    """Whether the whole answer is NOT STATED; the words inside a longer answer do not count."""
    return normal(answer) == NOT_STATED


def _bare(text: str) -> str:
    if len(text) > 1 and text[-1] in FULL_STOPS and text[-2] not in FULL_STOPS:
        return text[:-1].rstrip()
    if len(text) > 1 and QUOTES.get(text[0]) == text[-1]:
        return text[1:-1].strip()
    return text
