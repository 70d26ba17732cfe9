"""Replies of /v1/chat/completions, whole and in a stream."""

from __future__ import annotations

from typing import Any

from .ground import NOT_STATED, citations
from .shape import finish_reason, head, spelt, usage
from .turn import Turn


def whole(turn: Turn) -> dict[str, Any]:
    """A plain reply."""
    message = {"role": "assistant", **_said(turn), "annotations": _annotations(turn)}
    pieces = turn.answer.pieces
    choice = {
        "index": 0,
        "message": message,
        "logprobs": _logprobs(turn, pieces) if turn.wanted.logprobs else None,
        "finish_reason": finish_reason(turn),
    }
    return {**head(turn, "chatcmpl", "chat.completion"), "choices": [choice], "usage": usage(turn)}


def opening(turn: Turn) -> dict[str, Any] | None:
    """The first chunk: who speaks."""
    return _chunk(turn, {"role": "assistant", "content": ""})


def delta(turn: Turn, text: str, pieces: list[tuple[int, float]]) -> dict[str, Any]:
    """New text; under a schema NOT STATED is a refusal, for it is no JSON."""
    chunk = _chunk(turn, {"refusal" if _refused(turn) else "content": text})
    if turn.wanted.logprobs:
        chunk["choices"][0]["logprobs"] = _logprobs(turn, pieces)
    return chunk


def closing(turn: Turn) -> dict[str, Any]:
    """The chunk that ends the answer; its delta carries the citations."""
    found = _annotations(turn)
    return _chunk(turn, {"annotations": found} if found else {}, finish_reason(turn))


def counted(turn: Turn) -> dict[str, Any]:
    """The chunk after the last choice."""
    return {**head(turn, "chatcmpl", "chat.completion.chunk"), "choices": [], "usage": usage(turn)}


def _chunk(turn: Turn, new: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": new, "logprobs": None, "finish_reason": finish}
    chunk: dict[str, Any] = {**head(turn, "chatcmpl", "chat.completion.chunk"), "choices": [choice]}
    if turn.wanted.include_usage:
        chunk["usage"] = None
    return chunk


def _said(turn: Turn) -> dict[str, Any]:
    if _refused(turn):
        return {"content": None, "refusal": NOT_STATED}
    return {"content": turn.answer.text, "refusal": None}


def _refused(turn: Turn) -> bool:
    return turn.wanted.schema is not None and turn.unasked


def _annotations(turn: Turn) -> list[dict[str, Any]]:
    return citations(turn.answer.text, turn.hits)


def _logprobs(turn: Turn, pieces: list[tuple[int, float]]) -> dict[str, Any]:
    content = []
    for token, logprob in pieces:
        text, spelling = spelt(turn, token)
        content.append({"token": text, "logprob": logprob, "bytes": spelling, "top_logprobs": []})
    return {"content": content, "refusal": None}
