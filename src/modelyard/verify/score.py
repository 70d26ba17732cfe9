"""Is an answer right? Exact match as the design defines it, and F1 of words."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from ..prompt import NOT_STATED

QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’", "«": "»", "「": "」", "『": "』"}
FULL_STOPS = ".。．"

# Chinese and Japanese are written without spaces: each character counts as a word.
IDEOGRAPH = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{IDEOGRAPH}]|[^\W{IDEOGRAPH}]+")


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


def _bare(text: str) -> str:
    if len(text) > 1 and text[-1] in FULL_STOPS and text[-2] not in FULL_STOPS:
        return text[:-1].rstrip()
    if len(text) > 1 and QUOTES.get(text[0]) == text[-1]:
        return text[1:-1].strip()
    return text


def is_not_stated(answer: str) -> bool:
    """Whether the whole answer is NOT STATED; the words inside a longer answer do not count."""
    return normal(answer) == NOT_STATED


def exact_match(answer: str, right: str) -> float:
    """1.0 when both are the same after `normal`, else 0.0."""
    return float(normal(answer) == normal(right))


def f1(answer: str, right: str) -> float:
    """Harmonic mean of precision and recall of words, case folded; 1.0 for two texts without a word."""
    if is_not_stated(answer) or is_not_stated(right):
        return exact_match(answer, right)
    given, wanted = words(answer), words(right)
    if not given or not wanted:
        return float(given == wanted)
    shared = (given & wanted).total()
    return 2 * shared / (given.total() + wanted.total())


def words(text: str) -> Counter[str]:
    """The words of a text with their counts; each Chinese or Japanese character is one."""
    return Counter(WORD.findall(unicodedata.normalize("NFC", text).casefold()))


SCORES = {"exact_match": exact_match, "f1": f1}
