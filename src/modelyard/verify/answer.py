"""What is put before the model for a question: measuring, `try` and serving all ask here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..prompt import Prompter, ask

if TYPE_CHECKING:
    from ..index.bm25 import Bm25, Hit


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
