"""The parts that both completion routes' replies share."""

from __future__ import annotations

from typing import Any, Protocol

from ..engines.pieces import byte_letters
from .turn import Turn

_LETTERS = byte_letters()


class Shape(Protocol):
    """How a route's replies look."""

    def whole(self, turn: Turn) -> dict[str, Any]:
        """A plain reply."""

    def opening(self, turn: Turn) -> dict[str, Any] | None:
        """What a stream begins with, if anything."""

    def delta(self, turn: Turn, text: str, pieces: list[tuple[int, float]]) -> dict[str, Any]:
        """New text of a stream."""

    def closing(self, turn: Turn) -> dict[str, Any]:
        """Why it ended, and the citations."""

    def counted(self, turn: Turn) -> dict[str, Any]:
        """The chunk of a stream that carries the usage."""


def head(turn: Turn, prefix: str, kind: str) -> dict[str, Any]:
    """What every reply and chunk begins with."""
    return {
        "id": f"{prefix}-{turn.id}",
        "object": kind,
        "created": turn.created,
        "model": turn.released.model,
        "system_fingerprint": turn.released.id,
    }


def usage(turn: Turn) -> dict[str, Any]:
    """Tokens as they stand in the usage event."""
    read, written = turn.input_tokens, turn.answer.tokens
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def spelt(turn: Turn, token: int) -> tuple[str, list[int]]:
    """A token's text and its bytes."""
    prompter = turn.released.prompter
    word = prompter.word(token)
    text = prompter.decode([token])
    if word and all(letter in _LETTERS for letter in word):
        return text, [_LETTERS[letter] for letter in word]
    return text or word, list((text or word).encode())


def finish_reason(turn: Turn) -> str:
    """OpenAI's word for how it ended: what was cut off has reached its length."""
    return "stop" if turn.answer.finish == "stop" else "length"
