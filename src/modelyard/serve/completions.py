"""Replies of /v1/completions, whole and in a stream."""

from __future__ import annotations

from typing import Any

from .ground import citations
from .shape import finish_reason, head, spelt, usage
from .turn import Turn


def whole(turn: Turn) -> dict[str, Any]:
    """A plain reply."""
    choice = _choice(turn, turn.answer.text, turn.answer.pieces, finish_reason(turn))
    _cite(turn, choice)
    return {**head(turn, "cmpl", "text_completion"), "choices": [choice], "usage": usage(turn)}


def opening(turn: Turn) -> dict[str, Any] | None:
    """Nothing: the first chunk is text."""
    return None


def delta(turn: Turn, text: str, pieces: list[tuple[int, float]]) -> dict[str, Any]:
    """New text."""
    return _chunk(turn, _choice(turn, text, pieces, None))


def closing(turn: Turn) -> dict[str, Any]:
    """The chunk that ends the answer."""
    choice = _choice(turn, "", [], finish_reason(turn))
    _cite(turn, choice)
    return _chunk(turn, choice)


def counted(turn: Turn) -> dict[str, Any]:
    """The chunk after the last choice."""
    return {**head(turn, "cmpl", "text_completion"), "choices": [], "usage": usage(turn)}


def _chunk(turn: Turn, choice: dict[str, Any]) -> dict[str, Any]:
    chunk = {**head(turn, "cmpl", "text_completion"), "choices": [choice]}
    if turn.wanted.include_usage:
        chunk["usage"] = None
    return chunk


def _choice(turn: Turn, text: str, pieces: list[tuple[int, float]], finish: str | None) -> dict[str, Any]:
    logprobs = None
    if turn.wanted.logprobs:
        logprobs = {
            "tokens": [spelt(turn, token)[0] for token, _ in pieces],
            "token_logprobs": [logprob for _, logprob in pieces],
            "top_logprobs": None,
            "text_offset": None,
        }
    return {"index": 0, "text": text, "logprobs": logprobs, "finish_reason": finish}


def _cite(turn: Turn, choice: dict[str, Any]) -> None:
    """OpenAI's completions know no annotations; a grounded release adds them to the choice."""
    if turn.released.index is not None:
        choice["annotations"] = citations(turn.answer.text, turn.hits)
