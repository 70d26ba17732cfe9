"""Documents cut into passages at headings, paragraphs, lines and sentences; nothing is lost or repeated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from .tokens import UNSPACED

# What counts as one: a Chinese character, or a word. A run without spaces (a hash, a URL) counts once per
# 24 characters, so that a passage cannot grow without end.
_UNIT = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]{{1,24}}")
_HEADING = re.compile(r"#{1,6}[ \t]+(\S.*)")
_FENCE = re.compile(r" {0,3}(```|~~~)")
_SENTENCE_END = re.compile(r"[.!?][\"')\]]*(?=\s)|[。！？；]+")


@dataclass(frozen=True, slots=True)
class Piece:
    """A passage's text and the nearest heading above its first line ("" where there is none)."""

    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class _Block:
    heading: str
    text: str
    opens: bool  # a heading line


def length(text: str) -> int:
    """The size of `text` in words and Chinese characters."""
    return sum(1 for _ in _UNIT.finditer(text))


def cut(text: str, limit: int) -> list[Piece]:
    """`text` as passages of at most `limit` words and Chinese characters, in order.

    A text that is short enough is one passage. Otherwise each section is filled with whole paragraphs
    where they fit, else with lines, sentences and words. A line `# Like this` alone between blank lines
    and outside a code fence is a heading; a heading without text of its own goes with the next section.
    """
    text = text.strip("\n")
    if not text.strip():
        return []
    blocks = list(_blocks(text))
    if length(text) <= limit:
        return [Piece(blocks[0].heading, text)]
    pieces: list[Piece] = []
    held: list[str] = []
    heading, only_headings = "", True

    def close() -> None:
        if held:
            pieces.append(Piece(heading, "\n\n".join(held)))
        held.clear()

    for block in blocks:
        if block.opens:
            if not only_headings:
                close()
                only_headings = True
            heading = block.heading
        # A heading stays with the text under it: the first part is made to fit into what it leaves.
        above = length(" ".join(held)) if only_headings else 0
        for part in _fit(block.text, limit, limit - above if above <= limit // 2 else limit):
            if held and length("\n\n".join([*held, part])) > limit:
                close()
            held.append(part)
        only_headings = only_headings and block.opens
        heading = block.heading
    close()
    return pieces


def parted(text: str) -> tuple[str, str]:
    """The headings in `text`, and the text without them."""
    blocks = list(_blocks(text))
    headings = [block.heading for block in blocks if block.opens]
    return "\n".join(headings), "\n\n".join(block.text for block in blocks if not block.opens)


def _blocks(text: str) -> Iterator[_Block]:
    """Paragraphs, code fences and headings, each with the heading that it stands under."""
    lines = text.split("\n")
    heading = ""
    held: list[str] = []
    fence = ""
    for at, line in enumerate(lines):
        mark = _FENCE.match(line)
        if fence:
            held.append(line)
            if mark and mark.group(1) == fence:
                fence = ""
            continue
        if mark:
            fence = mark.group(1)
            held.append(line)
            continue
        alone = not held and (at + 1 == len(lines) or not lines[at + 1].strip())
        title = _HEADING.fullmatch(line) if alone else None
        if title:
            heading = title.group(1).rstrip("# \t")
            yield _Block(heading, line, opens=True)
        elif line.strip():
            held.append(line)
        elif held:
            yield _Block(heading, "\n".join(held), opens=False)
            held = []
    if held:
        yield _Block(heading, "\n".join(held), opens=False)


def _fit(text: str, limit: int, first: int) -> Iterator[str]:
    """`text` in parts of at most `limit` (`first` for the first), cut at line ends, sentences or words."""
    most = first
    if length(text) <= most:
        yield text
        return
    held: list[str] = []
    for line in text.split("\n"):
        if held and length("\n".join([*held, line])) > most:
            yield "\n".join(held)
            held, most = [], limit
        if length(line) <= most:
            held.append(line)
            continue
        *full, rest = _fill(line, limit, most)
        yield from full
        held, most = [rest], limit
    if held:
        yield "\n".join(held)


def _fill(line: str, limit: int, first: int) -> list[str]:
    """One long line in parts of at most `limit`: whole sentences where they fit, else whole units."""
    parts: list[str] = []
    start, most = 0, first
    while len(units := list(islice(_UNIT.finditer(line, start), most + 1))) > most:
        end = units[most - 1].end()
        end = max((match.end() for match in _SENTENCE_END.finditer(line, start, end)), default=end)
        parts.append(line[start:end].strip())
        start, most = end, limit
    parts.append(line[start:].strip())
    return [part for part in parts if part]
