"""The language of a text, as far as its script and commonest words tell."""

from __future__ import annotations

import re

_SAMPLE = 20_000  # characters

_HAN = re.compile("[\u3400-\u9fff]")
_KANA = re.compile("[\u3041-\u30ff]")
_HANGUL = re.compile("[\uac00-\ud7a3]")
_WORD = re.compile(r"[^\W\d_]+")
_ENGLISH = frozenset(["the", "of", "and", "to", "is", "in", "a", "for", "that", "with", "if", "be"])


def language(text: str) -> str:
    """`zh`, `ja`, `ko`, `en`, or `und` (undetermined) for anything else."""
    sample = text[:_SAMPLE]
    letters = sum(map(str.isalpha, sample)) or 1
    han, kana, hangul = (len(script.findall(sample)) for script in (_HAN, _KANA, _HANGUL))
    if hangul > 0.2 * letters:
        return "ko"
    # Two characters of Chinese say about what a word of eight letters does.
    if (han + kana) > 0.2 * letters:
        return "ja" if kana > 0.1 * (han + kana) else "zh"
    words = [word.lower() for word in _WORD.findall(sample)]
    english = sum(word in _ENGLISH for word in words)
    return "en" if english > 0.1 * len(words) and english else "und"
