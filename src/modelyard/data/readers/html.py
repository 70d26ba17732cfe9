"""HTML: the text of a page without its menus, headings as `# lines`, code in fences, tables row by row."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ..items import Drop, Page
from .decode import decode

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_\-:]{2,40})", re.IGNORECASE)
_SKIP = frozenset(
    ["script", "style", "nav", "header", "footer", "noscript", "template", "svg", "head", "iframe", "select"]
)
# Menus that older generators wrap in a plain div: DocBook (first two), Sphinx (the others).
_SKIP_CLASSES = frozenset(["navheader", "navfooter", "toc", "related", "sphinxsidebar", "headerlink"])
_SKIP_ROLES = frozenset(["navigation", "banner", "contentinfo", "search"])
_TEXT_BLOCKS = (
    "p div section article main body html ul ol dl table figure form blockquote address details aside hr"
)
_PARAGRAPHS = frozenset(_TEXT_BLOCKS.split())
_LINES = frozenset(["br", "li", "dt", "dd", "tr", "caption", "figcaption", "summary", "option"])
_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}


def read(data: bytes, name: str) -> Page:
    """The text, its title from the first h1, else <title>, else the file's name."""
    from selectolax.lexbor import LexborHTMLParser

    declared = _CHARSET.search(data[:4096])
    tree = LexborHTMLParser(decode(data, declared.group(1).decode("ascii") if declared else ""))
    if tree.root is None:
        raise Drop("empty_document")
    title = ""
    for selector in ("h1", "title"):
        node = tree.css_first(selector)
        title = title or (" ".join(node.text().split()).rstrip("¶ ") if node else "")
    return Page(title or PurePosixPath(name).stem, _Walk().text(tree.root))


class _Walk:
    """One pass over the nodes with a stack of its own: pages nest deeper than Python recurses."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.line: list[str] = []

    def text(self, root: LexborNode) -> str:
        stack: list[tuple[LexborNode, bool]] = [(root, True)]
        while stack:
            node, opening = stack.pop()
            if not opening:
                self._close(node)
            elif self._open(node):
                stack.append((node, False))
                stack += [(child, True) for child in reversed(_children(node))]
        self._end_line()
        return "\n".join(self.out)

    def _open(self, node: LexborNode) -> bool:
        """Take what a node begins; whether its children are to be walked."""
        tag = node.tag or ""
        if tag == "-text":
            self.line.append(node.text_content or "")
            return False
        if tag in _SKIP or tag.startswith("-") or _is_menu(node):
            return False
        if tag == "pre":
            self._paragraph()
            self.out += ["```", *node.text().strip("\n").splitlines(), "```", ""]
            return False
        if tag in _HEADINGS:
            self._paragraph()
            content = " ".join(node.text().split()).rstrip("¶ ")
            self.out += [f"{_HEADINGS[tag]} {content}", ""] if content else []
            return False
        if tag in _PARAGRAPHS:
            self._paragraph()
        elif tag in _LINES:
            self._end_line()
            if tag == "li":
                self.line.append("- ")
        elif tag in ("td", "th") and "".join(self.line).strip():
            self.line.append(" | ")
        return True

    def _close(self, node: LexborNode) -> None:
        if node.tag in _PARAGRAPHS:
            self._paragraph()
        elif node.tag in _LINES:
            self._end_line()

    def _end_line(self) -> None:
        line = " ".join("".join(self.line).split())
        self.line.clear()
        if line and line != "-":
            self.out.append(line)
        elif line:
            self.line.append("- ")  # <li><p>text</p></li>: the bullet waits for its text

    def _paragraph(self) -> None:
        self._end_line()
        if self.out and self.out[-1] and not self.line:
            self.out.append("")


def _children(node: LexborNode) -> list[LexborNode]:
    found = []
    child = node.child
    while child is not None:
        found.append(child)
        child = child.next
    return found


def _is_menu(node: LexborNode) -> bool:
    attributes = node.attributes
    if attributes.get("role") in _SKIP_ROLES:
        return True
    names = attributes.get("class")
    return bool(names) and not _SKIP_CLASSES.isdisjoint(str(names).split())
