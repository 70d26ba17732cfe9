"""The bytes that each token of a byte-level vocabulary spells, and how bytes fall back into tokens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from . import gguf_file

NORMAL = 1  # llama.cpp's type of a token that spells bytes; control tokens spell nothing


def byte_letters() -> dict[str, int]:
    """GPT-2's letter for each byte: printable ones stand for themselves, the others come after 255."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in printable]
    return letters | {chr(256 + at): byte for at, byte in enumerate(others)}


class Pieces:
    """Tokens of a GGUF file's vocabulary and their bytes, read when first needed."""

    def __init__(self, model: Path) -> None:
        self._model = model

    @cached_property
    def _bytes(self) -> dict[int, bytes]:
        meta = gguf_file.metadata(self._model)
        letters = byte_letters()
        found = {}
        tokens, types = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]
        for token, (text, kind) in enumerate(zip(tokens, types, strict=True)):
            if kind == NORMAL and all(letter in letters for letter in text):
                found[token] = bytes(letters[letter] for letter in text)
        return found

    @cached_property
    def _ids(self) -> dict[bytes, int]:
        return {spelt: token for token, spelt in self._bytes.items()}

    def id(self, spelt: bytes) -> int:
        """The token that spells these bytes; KeyError when none does."""
        return self._ids[spelt]

    def split(self, text: str, lost: int, known: Sequence[int]) -> list[int] | None:
        """The ids of `lost` tokens and then `known` ones that together spell `text`; None where not sure.

        A token that ends inside a character is held back until the character is whole, so `text` is
        all of its bytes. Where two ways lead to the same bytes nothing is guessed.
        """
        spelt = text.encode("utf-8")
        tail = b"".join(self._bytes.get(token, b"") for token in known)
        if not spelt.endswith(tail):
            return None
        ways = self._ways(spelt[: len(spelt) - len(tail)], lost)
        return [*ways[0], *known] if len(ways) == 1 else None

    def _ways(self, spelt: bytes, count: int) -> list[list[int]]:
        """Up to two ways to spell bytes with `count` tokens."""
        if count == 0:
            return [] if spelt else [[]]
        found: list[list[int]] = []
        for end in range(1, len(spelt) - count + 2):
            head = self._ids.get(spelt[:end])
            if head is not None:
                found += [[head, *rest] for rest in self._ways(spelt[end:], count - 1)]
                if len(found) > 1:
                    return found[:2]
        return found
