"""What the language reference inside Python (`pydoc_data.topics`) says of versions, as short passages.

In: `pydoc_data.topics`. Out: `Entry`s in a fixed order: a subject, its passage, and its notes of the kind
"New in version 3.7." or "Changed in version 3.8: ...".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from callables import LONGEST, Passage, plain, sentences, weight

_NOTE = re.compile(r"(New|Added|Changed) in version (\d+\.\d+(?:\.\d+)?)(?:\.$|: (.+))")
_HEADER = re.compile(r"(?:[a-z]+ )?[a-z][\w.]*\.\w+\(.*\)|(?:[a-z]+ )?\w+\.__\w+__(?:\(.*\))?")
_RULE = re.compile(r"[=\-~*^]{3,}$")
_CODE = re.compile(
    r"::=|\+--|>>>| {3}\||====|^\s*(class|def|import|from|try|with|async|for|if)\b.*[:=(]", re.M
)
_QUOTES = str.maketrans("“”‘’", "\"\"''")
# Topics that tell of the built-in types: the same text as their docstrings, so the same group.
_BUILTINS = ("string-methods", "types", "bltin", "binaryseq", "bytes", "dict", "set", "sequence")
_PACKAGES = {"debugger": "pdb"}  # a topic that tells of one module's callables


@dataclass(frozen=True, slots=True)
class Note:
    """A note: what happened in which version; `change` is empty where the subject itself was added."""

    version: str
    change: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A subject of the language reference, and what its passage says of versions."""

    subject: str
    group: str
    passage: Passage
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class _Block:
    indent: int
    text: str


def entries() -> list[Entry]:
    """One entry a subject that has a header or notes, in the order of topics; text told twice comes once."""
    import pydoc_data.topics

    made: list[Entry] = []
    told: set[str] = set()
    for topic, text in sorted(pydoc_data.topics.topics.items()):
        for subject, blocks in _subjects(text):
            entry = _entry(topic, subject, blocks, told, len(made))
            if entry is not None:
                made.append(entry)
    return made


def _subjects(text: str) -> list[tuple[str, list[str]]]:
    """(subject, its blocks): under the header of a callable, else under the heading of a section."""
    found: list[tuple[str, list[str]]] = []
    open_: list[tuple[int, int]] = []  # indent of each open header, and its place in `found`
    for block in _blocks(text):
        lines = block.text.split("\n")
        if len(lines) >= 2 and _RULE.fullmatch(lines[1].strip()) and block.indent == 0:
            found.append((lines[0].strip(), []))
            open_ = [(-1, len(found) - 1)]
            continue
        while open_ and open_[-1][0] >= block.indent:
            open_.pop()
        if _HEADER.fullmatch(lines[0].strip()):
            header = lines[0].strip().removeprefix("class ").removeprefix("classmethod ")
            found.append((header, []))
            open_.append((block.indent, len(found) - 1))
        elif open_:
            found[open_[-1][1]][1].append(block.text)
    return found


def _blocks(text: str) -> list[_Block]:
    blocks = []
    for block in re.split(r"\n[ \t]*\n", text):
        lines = block.strip("\n").splitlines()
        if lines and lines[0].strip():
            blocks.append(_Block(len(lines[0]) - len(lines[0].lstrip()), "\n".join(lines)))
    return blocks


def _entry(topic: str, subject: str, blocks: list[str], told: set[str], number: int) -> Entry | None:
    notes: list[tuple[str, Note]] = []
    prose: list[str] = []
    header = re.match(r"([\w.]+)", subject) if _HEADER.fullmatch(subject) else None
    for at, block in enumerate(blocks):
        text = plain(" ".join(block.split())).translate(_QUOTES)
        text = re.sub(r'"([\w.()]+)"', r"\1", text)
        note = _NOTE.match(text)
        if note and not note[3] and at > 0 and header is None and not subject.endswith("statement"):
            continue  # deep in a section it tells of a paragraph before it, not of the section
        if note:
            notes.append((text, Note(note[2], sentences(note[3])[0] if note[3] else "")))
        elif not text.endswith(":") and not _CODE.search(block):
            prose.append(text)
    if not notes and header is None:
        return None
    title = header[1] if header else subject
    head = f"# {title}\n\n{subject}: from the topic {topic} of the language reference."
    kept = [text for text, _ in notes if text not in told]
    while kept and weight("\n".join([head, *kept])) > LONGEST:
        kept.pop()
    body: list[str] = []
    for text in prose:
        if weight("\n".join([head, *body, text, *kept])) > LONGEST:
            break
        body.append(text)
    if not (body or kept) or (body and body[0] in told and not kept):
        return None
    told.update(kept)
    told.update(body[:1])
    group = "builtins" if topic.startswith(_BUILTINS) else _PACKAGES.get(topic, f"language.{topic}")
    document = f"topic.{topic}.{number:03}.md"
    passage = Passage(document, "\n".join([head, *body, *kept]))
    return Entry(title, group, passage, tuple(note for text, note in notes if text in kept))
