"""Text as search terms: words, the parts of identifiers, and bigrams where a script has no spaces."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache

# Scripts written without spaces between words, or (Hangul) with endings glued to them: Thai, Lao,
# Myanmar, Khmer, kana, Han with its extensions, Hangul.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
)

LONGEST = 64  # characters of a term: what is longer is data, and nobody searches for it whole

_ASCII_WORD = re.compile(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^A-Za-z0-9_.]+")
_ACCENT = re.compile("[\u0300-\u036f]")

# Words that shape a question and say nothing of its subject. A question made of nothing else keeps them.
_FUNCTION_WORDS = """
a an the is are was were be been do does did done has have had can could will would should shall may might
must what which who whom whose when where why how that this these those it its of in on at to for from
by with as and or if i me my you your we our there about tell please
"""
_QUESTION_WORDS = frozenset(_FUNCTION_WORDS.split())
_QUESTION_PHRASES = re.compile(
    "什么是|是什么|为什么|什么|怎么样|怎么|怎样|如何|哪个|哪些|哪里|哪儿|多少|是否|请问|可以|能否|有没有|"
    "的|了|吗|呢|是|在|和|与|或|把|被|我|你|您|"
    "とは何ですか|とは|ですか|何ですか|何|どの|どう|は|を|が|の|に|で"
)


def terms(text: str) -> list[str]:
    """The terms of `text` in order, lower case, each made of letters, digits, `_` and `.` only.

    A word gives itself without accents and plural s; `os.path.join`, `read_text` and `HTTPServer` give
    themselves and their parts; a run of Chinese, Japanese, Korean or Thai gives its bigrams.
    """
    return list(_terms(text))


def query_terms(question: str) -> list[str]:
    """The distinct terms of a question that say what it is about, in order of appearance."""
    apart = _QUESTION_PHRASES.sub(" ", question)
    found = dict.fromkeys(term for term in _terms(apart) if term not in _QUESTION_WORDS)
    return list(found or dict.fromkeys(_terms(question)))


def _terms(text: str) -> Iterator[str]:
    if text.isascii():
        for word in _ASCII_WORD.findall(text):
            yield from _word(word)
        return
    # Compatibility forms (full-width letters, ligatures) become plain ones, and accents go: a question
    # is often typed without them. Recomposed so that kana and Hangul stay whole.
    decomposed = unicodedata.normalize("NFKD", text)
    plain = unicodedata.normalize("NFC", _ACCENT.sub("", decomposed))
    for match in _unicode_run().finditer(plain):
        run = match.group()
        if match.lastgroup == "unspaced":
            yield from (run[i : i + 2] for i in range(max(1, len(run) - 1)))
        else:
            yield from _word(run)


def _word(word: str) -> Iterator[str]:
    parts = _PART.findall(word)
    if len(parts) < 2 or word.isdigit():
        yield _singular(word.lower())[:LONGEST]
        return
    yield word.lower()[:LONGEST]
    for part in parts:
        yield _singular(part.lower())[:LONGEST]


def _singular(word: str) -> str:
    """Harman's s-stemmer (https://doi.org/10.1002/(SICI)1097-4571(199101)42:1<7::AID-ASI2>3.0.CO;2-P)."""
    if len(word) < 4 or word[-1] != "s" or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes", "zes")):
        return word[:-2]
    return word[:-1]


@cache
def _unicode_run() -> re.Pattern[str]:
    # `re` counts no combining mark as a word character, and Indic vowels are such marks.
    marks = "".join(chr(c) for c in range(sys.maxunicode) if unicodedata.category(chr(c))[0] == "M")
    letter = rf"(?![{UNSPACED}])[\w{marks}]"
    return re.compile(rf"(?P<unspaced>[{UNSPACED}]+)|(?P<word>(?:{letter})+(?:\.(?:{letter})+)*)")
