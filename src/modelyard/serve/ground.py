"""From what was asked to token ids, with passages where the release answers from documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from ..errors import SourceError
from ..grounding import Grounded, is_not_stated, put
from ..index import Hit
from ..prompt import NOT_STATED
from .parameters import Wanted
from .refusals import Refusal, invalid
from .released import Released

__all__ = ["NOT_STATED", "Prepared", "citations", "prepare"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the engine reads; `prompt` is None when the answer is NOT STATED without it."""

    prompt: tuple[int, ...] | None
    hits: tuple[Hit, ...] = ()
    last_only: bool = False
    """Earlier messages were not put before the model: a grounded release is asked one question."""


def prepare(released: Released, wanted: Wanted) -> Prepared:
    """Token ids for a request, as `try` makes them for the same question.

    Raises Refusal for what cannot be asked.
    """
    if released.index is not None:
        question, last_only = _question(wanted)
        placed = put(released.prompter, released.index, question, passages=released.passages)
        prompt = placed.prompt if isinstance(placed, Grounded) else None
        return Prepared(prompt, placed.hits, last_only)
    if wanted.messages:
        return Prepared(_rendered(released, wanted))
    if isinstance(wanted.prompt, str):
        ids = tuple(released.prompter.encode(wanted.prompt))
    else:
        ids = wanted.prompt
        if any(token >= released.prompter.vocabulary for token in ids):
            raise invalid("prompt holds an id that is no token of this model", "prompt")
    if not ids:
        raise invalid("the prompt is empty", "prompt")
    return Prepared(ids)


def citations(text: str, hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """OpenAI annotations for the passages behind an answer; none when it states nothing.

    `span` is where the answer's words stand in the passage, in characters; null when they do not as they are.
    """
    if is_not_stated(text):
        return []
    found = []
    for hit in hits:
        start = hit.text.find(text) if text else -1
        found.append(
            {
                "type": "file_citation",
                "file_citation": {
                    "document": hit.document,
                    "title": hit.title,
                    "heading": hit.heading,
                    "licence": hit.licence,
                    "owner": hit.owner,
                    "passage": hit.text,
                    "span": None if start < 0 else {"start": start, "end": start + len(text)},
                    "score": hit.score,
                },
            }
        )
    return found


def _question(wanted: Wanted) -> tuple[str, bool]:
    if wanted.messages:
        last = wanted.messages[-1]
        if last["role"] != "user":
            raise invalid("the last message is the question, so its role is user", "messages")
        question, where = last["content"].strip(), "messages"
    elif isinstance(wanted.prompt, str):
        question, where = wanted.prompt.strip(), "prompt"
    else:
        raise invalid("this release answers questions: prompt is a text", "prompt")
    if not question:
        raise invalid("the question is empty", where)
    return question, len(wanted.messages) > 1


def _rendered(released: Released, wanted: Wanted) -> tuple[int, ...]:
    try:
        return tuple(released.prompter.prompt(wanted.messages))
    except (SourceError, TemplateError, TypeError):
        raise Refusal(
            400, "the model's chat template refuses this order of messages", param="messages"
        ) from None
