"""Is an answer right? Exact match as the design defines it, and F1 of words."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from ..grounding import is_not_stated, normal

# Chinese and Japanese are written without spaces: each character counts as a word.
IDEOGRAPH = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{IDEOGRAPH}]|[^\W{IDEOGRAPH}]+")


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
