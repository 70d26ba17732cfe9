"""Text in one normal form, for documents and pairs alike, so that an answer still stands in its passage."""

from __future__ import annotations

import re
import unicodedata

# Control characters but tab and newline; zero-width space, word joiner, byte order mark, soft hyphen. The
# zero-width joiners stay: Persian and Indic spelling needs them. Lone surrogates cannot be written as UTF-8.
_NOISE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f"
    "\u200b\u2060\ufeff\u00ad\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
_LINE_END = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_INNER = re.compile(r"(?<=\S)[ \t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
_BLANK_LINES = re.compile(r"\n{3,}")


def clean(text: str) -> str:
    """NFC; `\\n` line ends; no control characters; runs of spaces, and of blank lines, made one.

    Indentation stays, since code needs it. Cleaning twice is cleaning once.
    """
    text = _NOISE.sub("", _LINE_END.sub("\n", unicodedata.normalize("NFC", text)))
    lines = (_INNER.sub(" ", line).rstrip() for line in text.split("\n"))
    return unicodedata.normalize("NFC", _BLANK_LINES.sub("\n\n", "\n".join(lines))).strip("\n")


def same(text: str) -> str:
    """`text` for comparing: white space made one, compatibility forms made plain. Case counts, as in code."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def stands_in(answer: str, passage: str) -> bool:
    """Whether the passage holds the answer, however its white space is broken into lines."""
    return answer in passage or " ".join(answer.split()) in " ".join(passage.split())
