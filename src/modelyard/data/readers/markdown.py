"""Markdown: kept as written, front matter aside, every heading as one `# line` between blank lines."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from ..items import Page
from .decode import decode

_FRONT = re.compile(
    r"\A(?:---[ \t]*\n.*?\n(?:---|\.\.\.)|\+\+\+[ \t]*\n.*?\n\+\+\+)[ \t]*(?:\n|\Z)", re.DOTALL
)


def read(data: bytes, name: str) -> Page:
    """The text, its title the first heading, else the file's name."""
    from markdown_it import MarkdownIt

    text = "\n".join(decode(data).splitlines())
    text = _FRONT.sub("", text, count=1)
    lines = text.split("\n")
    out: list[str] = []
    title = ""
    done = 0
    blocks = MarkdownIt("commonmark").disable("inline").parse(text)
    for at, token in enumerate(blocks):
        # level > 0 is a heading inside a list or a quotation: it opens no section.
        if token.type != "heading_open" or token.map is None or token.level:
            continue
        content = " ".join(blocks[at + 1].content.split())
        out += lines[done : token.map[0]]
        done = token.map[1]
        if content:
            out += ["", f"{'#' * int(token.tag[1])} {content}", ""]
            title = title or content
    out += lines[done:]
    return Page(title.strip("*_` ") or PurePosixPath(name).stem, "\n".join(out))
