"""What can be asked of a passage, and the truth that stands in it word for word.

In: callables and entries. Out: `Fact`s by kind, and the number of those left out by kind and reason.
"""

from __future__ import annotations

import builtins
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from callables import Callable, Name, Passage, sentences
from topics import Entry

KINDS = ("default", "parameters", "raises", "module", "purpose", "version")
PURPOSE_WORDS = 20  # a longer answer is a test of patience: 256 tokens of a sample have to last for all
LIST_LETTERS = 90
VALUE_LETTERS = 30

Dropped = Counter[tuple[str, str]]

_RAISES = re.compile(r"\b[Rr]ais(?:e|es|ed|ing)\b")
# Not done, done by another, or said of every function that some systems lack.
_NOT_ITS_OWN = re.compile(
    r"unavailable|(?:\bnot|n't|\bnever|\bwithout|\binstead of|\bthan|\bto|\bshould|\bmust|\bthat|\bwhich"
    r"|\bhandlers?)\s+(?:be\s+)?rais",
    re.IGNORECASE,
)
_POINTER = re.compile(r"(See|Same as|Like|Deprecated|TODO|XXX|Overrid\w+|Undocumented|Internal|Obsolete)\b")


@dataclass(frozen=True, slots=True)
class Fact:
    """A question without its wording, the passage it is put to, and the truth."""

    kind: str
    wording: str
    name: Name | str  # a callable, or a subject of the language reference
    group: str
    passage: Passage
    truth: str
    parameter: str = ""
    change: str = ""
    absent: bool = False


def scored(text: str) -> str:
    """The text as `exact_match` compares it; the truth must not vanish in it."""
    return " ".join(text.split()).removesuffix(".").strip("\"'`").removesuffix(".").strip()


def facts(known: list[Callable], entries: list[Entry]) -> tuple[list[Fact], Dropped]:
    """Every fact whose truth is short, unambiguous, and in its passage."""
    dropped: Dropped = Counter()
    found: list[Fact] = []
    errors = exceptions(known)
    shared = Counter(first_sentence(one) for one in known)
    inside = Counter(one.name.inside for one in known)
    parts = {part for one in known for part in one.name.module.split(".")}
    for one in known:
        found += _default(one, dropped)
        found += _parameters(one, dropped)
        found += _raises(one, errors, dropped)
        if one.name.module == "builtins":
            dropped["module", "built in: no module to name"] += 1
        elif len(one.modules) > 1:
            dropped["module", "several modules offer it"] += 1
        elif inside[one.name.inside] > 1 or one.name.bare in parts:
            dropped["module", "the name alone is ambiguous"] += 1
        else:
            found.append(_fact("module", one, one.passages[0], one.name.module))
        found += _purpose(one, shared, dropped)
    for entry in entries:
        found += _versions(entry, dropped)
    kept = []
    for fact in found:
        if fact.truth in fact.passage.text and scored(fact.truth):
            kept.append(fact)
        else:
            dropped[fact.kind, "not in the passage word for word"] += 1
    return kept, dropped


def exceptions(known: Iterable[Callable]) -> frozenset[str]:
    """Names of exception classes; those that anything may raise say nothing."""
    own = {name for name, thing in vars(builtins).items() if _is_error(thing)}
    own |= {one.name.bare for one in known if re.search(r"(Error|Exception)$", one.name.bare)}
    own |= {"Full", "Empty", "QueueFull", "QueueEmpty", "BdbQuit", "error_proto", "NoSectionError"}
    return frozenset(own - {"Exception", "BaseException"})


def _is_error(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, BaseException) and not issubclass(thing, Warning)


def first_sentence(one: Callable) -> str:
    """The first sentence of a docstring as it stands; empty where it does not end in its paragraph."""
    lines = one.blocks[0].split("\n")
    first = sentences(lines[0])[0]
    return first if len(lines) == 1 or first.endswith((".", "!", "?")) else ""


def _fact(kind: str, one: Callable, passage: Passage, truth: str, parameter: str = "") -> Fact:
    return Fact(kind, kind, one.name, one.name.group, passage, truth, parameter)


def _default(one: Callable, dropped: Dropped) -> Iterator[Fact]:
    prose = [s for block in one.blocks for line in block.split("\n") for s in sentences(line)]
    for parameter, value in one.defaults:
        if value is None or parameter.startswith("_"):
            continue
        told = [s for s in prose if "default" in s.lower() and re.search(rf"\b{re.escape(parameter)}\b", s)]
        if len(value) > VALUE_LETTERS:
            dropped["default", f"longer than {VALUE_LETTERS} letters"] += 1
        elif not scored(value):
            dropped["default", "an empty text"] += 1
        elif any(scored(value) not in sentence for sentence in told):
            dropped["default", "the docstring tells another default"] += 1
        else:
            yield _fact("default", one, one.passages[0], value, parameter)


def _parameters(one: Callable, dropped: Dropped) -> Iterator[Fact]:
    if one.parameters is None:
        dropped["parameters", "no plain signature"] += 1
    elif one.parameters in ("", "*args, **kwargs", "*args, **kwds", "*args, **kw", "*args"):
        dropped["parameters", "takes none or anything"] += 1
    elif len(one.parameters) > LIST_LETTERS:
        dropped["parameters", f"longer than {LIST_LETTERS} letters"] += 1
    else:
        yield _fact("parameters", one, one.passages[0], one.parameters)


def _raises(one: Callable, errors: frozenset[str], dropped: Dropped) -> Iterator[Fact]:
    if one.name.bare in errors:
        return
    prose = "\n".join(one.blocks)
    if not _RAISES.search(prose):
        return
    names = {word for word in re.findall(r"[A-Za-z_]\w*", prose) if word in errors}
    if len(names) != 1 or re.search(r"[Ww]arning", prose):
        dropped["raises", "not exactly one exception is named"] += 1
        return
    (error,) = names
    plainly = re.compile(
        rf"[Rr]aises?:?\s+(?:an? |the )?((?:\w+\.)*{error})\b"
        rf"|((?:\w+\.)*\b{error})(?: exception| error)? (?:is|will be|gets) raised"
    )
    said = [(passage, plainly.search(passage.text)) for passage in one.passages]
    stated = [(passage, match) for passage, match in said if match]
    if len(stated) != 1 or _NOT_ITS_OWN.search(prose):
        dropped["raises", "not said plainly, in one place"] += 1
    else:
        passage, match = stated[0]
        yield _fact("raises", one, passage, match[1] or match[2])


def _purpose(one: Callable, shared: Counter[str], dropped: Dropped) -> Iterator[Fact]:
    first = first_sentence(one)
    words = len(first.split())
    if words > PURPOSE_WORDS:
        dropped["purpose", f"longer than {PURPOSE_WORDS} words"] += 1
    elif words < 3 or not re.match(r"[^\W\d_].*[^:,]$", first) or re.search(r"->| = |::|\|", first):
        dropped["purpose", "not a sentence"] += 1
    elif _POINTER.match(first) or first.startswith(f"{one.name.bare}("):
        dropped["purpose", "only points elsewhere"] += 1
    elif first.count("(") != first.count(")"):
        dropped["purpose", "not a sentence"] += 1
    elif shared[first] > 2:
        dropped["purpose", "said of more than two"] += 1
    else:
        yield _fact("purpose", one, one.passages[0], first)


def _versions(entry: Entry, dropped: Dropped) -> Iterator[Fact]:
    for note in entry.notes:
        twice = [n for n in entry.notes if n.change == note.change and n.version != note.version]
        if len(note.change.split()) > 25 or twice:
            dropped["version", "longer than 25 words, or said of two versions"] += 1
            continue
        wording = "version.changed" if note.change else "version.added"
        change = note.change.removesuffix(".")
        yield Fact("version", wording, entry.subject, entry.group, entry.passage, note.version, change=change)
