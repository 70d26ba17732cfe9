"""Plain text and reStructuredText: underlined lines become headings."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from ..items import Page
from .decode import decode

LONGEST_TITLE = 100  # characters; a longer first line is a sentence

_RULE = re.compile(r"([=\-~^\"'`#*+.:_])\1{2,}\s*")


def read(data: bytes, name: str) -> Page:
    """The text, its title the first heading, else a short first line, else the file's name."""
    lines = decode(data).splitlines()
    out: list[str] = []
    marks: list[str] = []  # underline characters in order of appearance: the level of each
    title = ""
    at = 0
    while at < len(lines):
        over = _overlined(lines, at)
        line = lines[at + 1] if over else lines[at]
        under = lines[at + 2] if over else lines[at + 1] if at + 1 < len(lines) else ""
        if over or _underlined(line, under, out):
            mark = ("=" if over else "") + under[0]
            if mark not in marks:
                marks.append(mark)
            level = min(marks.index(mark) + 1, 6)
            out += ["", f"{'#' * level} {line.strip()}", ""]
            title = title or line.strip()
            at += 3 if over else 2
            continue
        out.append(lines[at])
        at += 1
    return Page(title or _first_line(out) or PurePosixPath(name).name, "\n".join(out))


def _underlined(line: str, under: str, before: list[str]) -> bool:
    return (
        bool(line.strip())
        and line[0] not in " \t"
        and not (before and before[-1].strip())
        and _RULE.fullmatch(under) is not None
        and len(under.rstrip()) >= len(line.rstrip())
        and _RULE.fullmatch(line) is None
    )


def _overlined(lines: list[str], at: int) -> bool:
    if at + 2 >= len(lines) or not _RULE.fullmatch(lines[at]):
        return False
    line = lines[at + 1].strip()
    return (
        bool(line) and lines[at].rstrip() == lines[at + 2].rstrip() and len(lines[at].rstrip()) >= len(line)
    )


def _first_line(lines: list[str]) -> str:
    first = next((line.strip() for line in lines if line.strip()), "")
    return first.lstrip("# ") if len(first) <= LONGEST_TITLE else ""
