"""E-mail addresses and phone numbers replaced by markers, cautiously: a version number is no phone number."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from .items import Pair

EMAIL, PHONE = "[e-mail]", "[phone]"

# Bounded repeats, so that no text makes it slow. ASCII only: in Chinese no space comes before an address.
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+\-])[A-Za-z0-9][A-Za-z0-9._%+\-]{0,63}@"
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9])"
)
# What could be a phone number at all: 7 to 17 digits, few characters between them. phonenumbers looks at
# these places alone: it is slow, and most text has none.
_DIGITS = re.compile(r"(?<!\d)[+＋(]{0,2}\d(?:[ \t.()/\-‐-―\u00a0\u2060/]{0,3}\d){6,16}(?!\d)")
_AROUND = 24
_CUE = re.compile(
    r"(?:\b(?:tel|telephone|phone|call|mobile|cell|fax|whatsapp|dial|hotline)|电话|手机|传真|热线|致电|联系|tél|telefon)"
    r"[^0-9\n]{0,12}$",
    re.IGNORECASE,
)
_BOOK = re.compile(r"(?:ISBN|ISSN|EAN|DOI)[^0-9\n]{0,12}$", re.IGNORECASE)
_DATE = re.compile(r"(?:19|20)\d\d[-./]?[01]\d[-./]?[0-3]\d")


@dataclass(frozen=True, slots=True)
class Span:
    """Personal data at text[start:end], and the marker for it."""

    start: int
    end: int
    marker: str


class Redactor:
    """Finds personal data of `kinds` ("email", "phone"); `region` is the country of national numbers."""

    def __init__(self, kinds: Collection[str], region: str) -> None:
        self._kinds = frozenset(kinds)
        self._region = region

    @cached_property
    def _library(self) -> Any:
        import phonenumbers

        return phonenumbers

    def spans(self, text: str) -> list[Span]:
        """The places of personal data in `text`, in order, never overlapping."""
        found: list[Span] = []
        if "email" in self._kinds and "@" in text:
            found += [Span(m.start(), m.end(), EMAIL) for m in _EMAIL.finditer(text)]
        if "phone" in self._kinds:
            taken = list(found)
            for at in _DIGITS.finditer(text):
                found += [
                    span
                    for span in self._phones(text, at.start(), at.end())
                    if not any(span.start < other.end and other.start < span.end for other in taken)
                ]
        return sorted(set(found), key=lambda span: span.start)

    def redact(self, text: str) -> tuple[str, int]:
        """`text` with markers, and how many places were replaced."""
        spans = self.spans(text)
        return _marked(text, spans, 0, len(text)), len(spans)

    def pair(self, pair: Pair) -> tuple[Pair, int]:
        """A pair with markers, and how many places were replaced.

        What is personal in the passage is so in question and answer, and an answer that stands in the
        passage is cut from the marked passage, so that it stands there still.
        """
        if pair.rejected is not None:
            rejected, hidden = self.redact(pair.rejected)
            pair, places = self.pair(replace(pair, rejected=None))
            return replace(pair, rejected=rejected), places + hidden
        if pair.messages:
            messages, places = [], 0
            for message in pair.messages:
                content, count = self.redact(message["content"])
                messages.append({**message, "content": content})
                places += count
            return replace(pair, messages=tuple(messages)), places
        passage = pair.passage or ""
        spans = self.spans(passage)
        question, asked = self._alike(pair.question, passage, spans)
        at = passage.find(pair.answer)
        if pair.answer and at >= 0:
            answer, answered = _marked(passage, spans, at, at + len(pair.answer)), 0
        else:
            answer, answered = self._alike(pair.answer, passage, spans)
        places = len(spans) + asked + answered
        if not places:
            return pair, 0
        marked = _marked(passage, spans, 0, len(passage)) if pair.passage is not None else None
        return replace(pair, question=question, answer=answer, passage=marked), places

    def name(self, name: str) -> str:
        """A name of a group or row; its hash when it holds personal data, which still tells rows apart."""
        if not self.spans(name):
            return name
        return "h-" + hashlib.sha256(name.encode("utf-8")).hexdigest()[:16]

    def _alike(self, text: str, passage: str, spans: list[Span]) -> tuple[str, int]:
        text, places = self.redact(text)
        for span in sorted(spans, key=lambda span: span.start - span.end):
            personal = passage[span.start : span.end]
            places += text.count(personal)
            text = text.replace(personal, span.marker)
        return text, places

    def _phones(self, text: str, start: int, end: int) -> list[Span]:
        before = text[max(0, start - _AROUND) : start]
        if _is_other_number(text[start:end], before):
            return []
        first = max(0, start - 4)
        window = text[first : end + 4]
        library = self._library
        matcher = library.PhoneNumberMatcher(window, self._region, library.Leniency.STRICT_GROUPING, 8)
        found = []
        for match in matcher:
            bare = match.raw_string.isdigit()
            kind = library.number_type(match.number)
            # 2147483647 is a valid number in Dallas. Digits in one run count where something says that they
            # are a phone number, or where the country tells mobile numbers by their digits.
            if bare and kind != library.PhoneNumberType.MOBILE and not _CUE.search(before):
                continue
            found.append(Span(first + match.start, first + match.end, PHONE))
        return found


def _is_other_number(digits: str, before: str) -> bool:
    plain = digits.strip("(+")
    if _BOOK.search(before) or _DATE.match(plain) or _is_isbn(plain):
        return True
    # A point or a letter right before: the tail of a decimal number, a version or an identifier.
    if re.search(r"[A-Za-z0-9._]$", before) and digits[0] not in "+(":
        return True
    try:
        ipaddress.ip_address(plain)
    except ValueError:
        return False
    return True


def _is_isbn(digits: str) -> bool:
    number = re.sub(r"\D", "", digits)
    if len(number) != 13 or number[:3] not in ("978", "979"):
        return False
    return sum(int(d) * (3 if i % 2 else 1) for i, d in enumerate(number)) % 10 == 0


def _marked(text: str, spans: list[Span], start: int, end: int) -> str:
    """text[start:end] with the marker of every span that it touches, whole."""
    out: list[str] = []
    at = start
    for span in spans:
        if span.start >= end or span.end <= start:
            continue
        out += [text[at : span.start], span.marker]
        at = span.end
    return "".join([*out, text[at:end]])
