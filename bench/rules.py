"""A small rule program for the pydesk task: what a good engineer's hour of regular expressions comes to.

It stands beside the tuned model in the headline table. It was written from training pairs alone: no wording,
pair or module of `select` or `report` was seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

NOT_STATED = "NOT STATED"

NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
# `merge(*iterables, key=None): function in the module heapq.`, or the heading of a piece of a language topic.
HEAD = re.compile(r"(?P<call>\S.*?): (?:\w+ in the module (?P<module>[\w.]+)|from the topic .*)\.")
NOTE = re.compile(r"^(?:New|Changed|Deprecated)(?: in| since)? version (\d+(?:\.\d+)*)[:.] *(.*)$", re.M)
ERROR = r"(?:[a-z_]\w*\.)*(?:\w*(?:Error|Exception|Warning|Interrupt)|\w+Exit|Stop\w*Iteration)\b"
RAISED = re.compile(
    rf"\b[Rr]ais\w+[^.]*?\b({ERROR})|\b({ERROR})[^.]*?\brais\w+|\b[Rr]ais\w+ (?:an? |the )?([A-Z]\w*[a-z]\w*)"
)

WHAT = r"(?:function|method|class|built-in)"
# `dumps in json`; ahead of the match, for a name can stand in two: `indent in dumps in json`.
PLACED = re.compile(
    rf"(?<![\w.])(?=([\w.]+)(?:\(\))?`?(?: {WHAT})? (?:in|of|from)(?: the)?(?: module)? `?([\w.]+))"
)

# What a question asks for, told by its words once the names in it are taken out. The first match wins.
ASKS = (
    ("default", r"default"),
    ("version", r"version|release|introduced|since|when (?:did|was|were)|as of"),
    ("default", r"le(?:ave|ft)\b.*\bout|omit|not (?:given|passed|set)|nothing|without|unless|don't|do not"),
    ("raises", r"rais|exception|error|except\b|catch|throw|wrong|fail"),
    ("parameters", r"param|argument|signature|pass\b|accept|\btake|parenthes|bracket|call"),
    ("module", r"modul|import|library|come from|live|belong|part of|where|packag"),
    ("default", r"\bvalue|\bset to|initial"),
)
# Words of questions that are parameters too: taken for one only when the question names no other.
PLAIN = {"a", "argument", "call", "class", "default", "function", "method", "name", "object", "type", "value"}
# What may follow "in" where no module is meant.
NO_MODULE = {"a", "an", "case", "code", "my", "one", "python", "the", "try", "which", "words", "your"}


@dataclass(frozen=True)
class Passage:
    """A passage of the desk: its title, the call and module in its first line, and the text below."""

    title: str
    call: str
    module: str
    text: str

    @classmethod
    def read(cls, passage: str) -> Passage:
        first, _, rest = passage.partition("\n\n")
        title = re.sub(r", part \d+$", "", first.removeprefix("# "))
        line, _, below = rest.partition("\n")
        head = HEAD.fullmatch(line)
        return cls(title, head["call"], head["module"] or "", below) if head else cls(title, "", "", rest)

    @property
    def arguments(self) -> str:
        """What stands between the brackets of the call."""
        found = re.fullmatch(r"[\w.]+\((.*)\)", self.call)
        return found[1] if found else ""


def answer(question: str, passage: str) -> str:
    """The exact words of `passage` that answer `question`, or NOT STATED."""
    read = Passage.read(passage)
    if not is_about(question, read.title):
        return NOT_STATED
    notes = NOTE.findall(passage)
    quoted = [number for number, text in notes if text and text.split(". ")[0].rstrip(".") in question]
    kind = "version" if quoted else asked(question, read.title)
    if kind == "version":
        found = [*quoted, *(number for number, text in notes if not text)]
        return found[0] if found else NOT_STATED
    if kind == "default":
        return default(question, read) or NOT_STATED
    if kind == "raises":
        error = RAISED.search(read.text)
        return next(group for group in error.groups() if group) if error else NOT_STATED
    if kind == "parameters":
        return read.arguments or NOT_STATED
    if kind == "module":
        return read.module or NOT_STATED
    sentence = re.split(r"(?<=[.!?]) (?![a-z])", read.text.partition("\n")[0], maxsplit=1)[0]
    return sentence if read.call and sentence else NOT_STATED


def is_about(question: str, title: str) -> bool:
    """Whether the question names the title: in full, or by its last parts and no other module."""
    if not NAME.fullmatch(title):
        return title.lower() in question.lower()
    placed = [(name, module.rstrip(".")) for name, module in PLACED.findall(question)]
    if title in [*NAME.findall(question), *(f"{module}.{name}" for name, module in placed)]:
        return True
    elsewhere = {name for name, module in placed if module.lower() not in NO_MODULE}
    return any(title.endswith(f".{name}") and name not in elsewhere for name in code(question))


def code(question: str) -> list[str]:
    """The names in a question that look like code or are said to be, or all of its words when none does."""
    found = [name for name in NAME.findall(question) if re.search(r"[._\d]|[a-z][A-Z]|[A-Z]{2}", name)]
    for pattern in (r"`([\w.]+)", r"([\w.]+)\(\)", rf"\b{WHAT} ([\w.]+)", rf"([\w.]+) {WHAT}\b"):
        found += [name.rstrip(".") for name in re.findall(pattern, question)]
    return found or NAME.findall(question)


def asked(question: str, title: str) -> str:
    """The kind of the question; one that no other kind claims asks for the purpose."""
    parts = title.split(".")
    names = {".".join(parts[at:]) for at in range(len(parts))}
    names |= {name for name in NAME.findall(question) if re.search(r"\w[._]\w", name)}
    words = re.sub(r'"[^"]*"|`[^`]*`|\bof the module [\w.]+', "", question)
    for name in sorted(names, key=len, reverse=True):
        words = re.sub(rf"(?<![\w.]){re.escape(name)}(?!\w)", "", words)
    return next((kind for kind, pattern in ASKS if re.search(pattern, words.lower())), "purpose")


def default(question: str, read: Passage) -> str | None:
    """The default of the parameter that the question names; None where it has none."""
    pieces = [piece.partition("=") for piece in split(read.arguments)]
    values = {name.strip("* "): value for name, _, value in pieces}
    words = [*re.findall(r"`(\w+)`", question), *NAME.findall(question)]
    named = [word for word in words if word in values and word != read.title]
    named.sort(key=PLAIN.__contains__)
    return values[named[0]] if named else None


def split(signature: str) -> Iterator[str]:
    """The parameters of a signature: parted at commas that stand in no bracket and no string."""
    start = depth = 0
    for token in re.finditer(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|[\[({<]|[\])}>]|,", signature):
        depth += (token[0] in "[({<") - (token[0] in "])}>")
        if token[0] == "," and depth == 0:
            yield signature[start : token.start()]
            start = token.end()
    yield signature[start:]
