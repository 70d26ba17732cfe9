"""Questions that their passage does not answer: about a neighbour, about what is left unsaid, about nothing.

In: facts, callables and entries. Out: `Fact`s whose truth is NOT STATED; those `absent` ask for something
that no document tells of: an invented callable, or an invented parameter of a real one.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable as Function
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from callables import Callable, Name, Passage
from facts import Fact, exceptions
from topics import Entry

NOT_STATED = "NOT STATED"
T = TypeVar("T")


def number(*of: object) -> int:
    """A number drawn by what it is for: the same in every run and on every machine."""
    return int.from_bytes(hashlib.sha256("\x1f".join(map(str, of)).encode()).digest()[:8], "big")


def drawn(items: Sequence[T], *of: object) -> T:
    """One of the items, drawn by what it is for."""
    return items[number(*of) % len(items)]


class Refusals:
    """Draws unanswerable questions; each kind's iterators go on for as long as there are any."""

    def __init__(self, known: list[Callable], entries: list[Entry], facts: list[Fact]) -> None:
        self._facts: dict[str, list[Fact]] = defaultdict(list)
        for fact in sorted(facts, key=lambda f: number("refusal", f.kind, f.name, f.parameter, f.change)):
            self._facts[fact.kind].append(fact)
        self._known = sorted(known, key=lambda one: number("refusal", one.name))
        self._entries = sorted(entries, key=lambda entry: number("refusal", entry.passage.document))
        self._near: dict[str, list[Callable]] = defaultdict(list)
        for one in known:
            self._near[one.name.group].append(one)
        self._shapes = {one.name: _letters(one.name.inside) for one in known}
        told = [passage.text for one in known for passage in one.passages]
        told += [entry.passage.text for entry in entries] + [one.name.full for one in known]
        self._words = frozenset(word for text in told for word in re.findall(r"\w+", text))
        self._errors = exceptions(known)
        self._pieces = {
            group: sorted({p for one in own for p in _pieces(one.name.bare) if len(p) > 3})
            for group, own in self._near.items()
        }
        used = Counter(parameter for one in known for parameter, _ in one.defaults)
        self._usual = sorted(name for name, times in used.items() if times >= 5 and len(name) > 2)
        self._raising = {fact.passage.document for fact in facts if fact.kind == "raises"}

    def stated_elsewhere(self, kind: str) -> Iterator[Fact]:
        """Real questions with the passage of a neighbour, or their own where it leaves the thing unsaid."""
        sources = [self._of_neighbour(kind)]
        if kind in ("default", "raises", "version"):
            sources.append(getattr(self, f"_unsaid_{kind}")())
        return _in_turn(sources)

    def absent(self, kind: str) -> Iterator[Fact]:
        """Questions about what exists nowhere, with the passage of the nearest real thing."""
        sources = [self._invented_callable(kind)]
        if kind == "default":
            sources.append(self._invented_parameter())
        return _in_turn(sources)

    def _of_neighbour(self, kind: str) -> Iterator[Fact]:
        for fact in self._facts[kind]:
            passage = self._neighbour(fact) if isinstance(fact.name, Name) else self._other_entry(fact)
            if passage is not None:
                yield replace(fact, passage=passage, truth=NOT_STATED)

    def _neighbour(self, fact: Fact) -> Passage | None:
        assert isinstance(fact.name, Name)
        name, fits = fact.name, self._fits(fact)
        near = [one for one in self._near[name.group] if one.name != name and fits(one)]
        near = self._nearest(name, near)
        return drawn(near, "neighbour", fact.kind, name, fact.parameter).passages[0] if near else None

    def _fits(self, fact: Fact) -> Function[[Callable], bool]:
        """Which neighbours tempt most: those that state such a fact of themselves, never of this one."""
        assert isinstance(fact.name, Name)
        name = fact.name
        word = re.compile(rf"\b{re.escape(name.bare)}\b", re.IGNORECASE)

        def fits(one: Callable) -> bool:
            if word.search(one.passages[0].text):
                return False
            if fact.kind == "default":
                return any(value is not None for _, value in one.defaults)
            if fact.kind == "parameters":
                return bool(one.parameters)
            if fact.kind == "raises":
                return one.passages[0].document in self._raising
            if fact.kind == "module":  # the same module would be right by luck
                return one.name.module != name.module and name.module not in one.passages[0].text
            return True

        return fits

    def _nearest(self, name: Name, near: list[Callable]) -> list[Callable]:
        shape = self._shapes.get(name) or _letters(name.inside)
        alike = [(-len(shape & (own := self._shapes[o.name])) / len(shape | own), o.name.full) for o in near]
        order = sorted(zip(alike, near, strict=True), key=lambda pair: pair[0])
        return [one for _, one in order[:3]]

    def _other_entry(self, fact: Fact) -> Passage | None:
        word = str(fact.name).rpartition(".")[2].lower()
        for entry in self._entries:
            text = entry.passage.text.lower()
            told = word in text or (fact.change and fact.change.lower() in text)
            if entry.group == fact.group and entry.subject != fact.name and not told:
                return entry.passage
        return None

    def _unsaid_default(self) -> Iterator[Fact]:
        for one in self._known:
            text = "\n".join(passage.text for passage in one.passages)
            bare = [p for p, value in one.defaults if value is None and not p.startswith("_")]
            if bare and not re.search(r"default|optional|omitted|not given|if None", text, re.IGNORECASE):
                parameter = drawn(bare, "bare", one.name)
                yield self._about(one, "default", parameter)

    def _unsaid_raises(self) -> Iterator[Fact]:
        for one in self._known:
            text = "\n".join(one.blocks)
            silent = not re.search(r"rais|throw|error|exception|fail|abort", text, re.IGNORECASE)
            if silent and not self._errors & set(re.findall(r"\w+", text)) and one.name.noun != "class":
                yield self._about(one, "raises")

    def _unsaid_version(self) -> Iterator[Fact]:
        for entry in self._entries:
            if not entry.notes and not re.search(r"version|Python \d|deprecated", entry.passage.text):
                yield Fact("version", "version.added", entry.subject, entry.group, entry.passage, NOT_STATED)
        for one in self._known:
            if not re.search(r"version|Python \d|deprecated|\bnew\b|\d\.\d", "\n".join(one.blocks), re.I):
                yield replace(self._about(one, "version"), wording="version.added")

    def _about(self, one: Callable, kind: str, parameter: str = "") -> Fact:
        return Fact(kind, kind, one.name, one.name.group, one.passages[0], NOT_STATED, parameter)

    def _invented_callable(self, kind: str) -> Iterator[Fact]:
        for model in self._known:
            bare = self._invent(model.name, kind)
            if bare is None:
                continue
            head, dot, _ = model.name.inside.rpartition(".")
            name = replace(model.name, inside=f"{head}{dot}{bare}")
            near = self._nearest(name, [one for one in self._near[name.group] if self._tempts(one, kind)])
            if not near:
                continue
            real = drawn(near[:2], "absent", kind, name)
            parameters = [p for p, value in real.defaults if value is not None and not p.startswith("_")]
            parameter = drawn(parameters, "absent", name) if kind == "default" else ""
            made = Fact(kind, kind, name, name.group, real.passages[0], NOT_STATED, parameter, absent=True)
            yield replace(made, wording="version.added") if kind == "version" else made

    def _tempts(self, one: Callable, kind: str) -> bool:
        if kind == "default":
            return any(value is not None and not p.startswith("_") for p, value in one.defaults)
        if kind == "parameters":
            return bool(one.parameters)
        return True

    def _invent(self, name: Name, kind: str) -> str | None:
        """A name in the style of a real one that nothing here is called."""
        pieces = self._pieces[name.group]
        if len(pieces) < 4 or (name.noun == "class" and not name.bare[0].isupper()):
            return None
        own, other = _pieces(name.bare), drawn(pieces, "piece", kind, name)
        kept = own[:-1] if len(own) > 1 else own
        if "_" in name.bare or name.bare.islower():
            bare = "_".join([*kept, other]).lower()
        else:
            bare = "".join([*kept, other.capitalize()])
        real = bare in self._words or not bare.isidentifier() or other.lower() in map(str.lower, own)
        return None if real else bare

    def _invented_parameter(self) -> Iterator[Fact]:
        for one in self._known:
            if one.parameters is None or one.open_ended or not one.defaults:
                continue
            parameter = drawn(self._usual, "parameter", one.name)
            text = "\n".join([one.parameters, *one.blocks])
            if not re.search(rf"\b{re.escape(parameter)}\b", text, re.IGNORECASE):
                yield replace(self._about(one, "default", parameter), absent=True)


def _in_turn(sources: list[Iterator[Fact]]) -> Iterator[Fact]:
    while sources:
        for source in list(sources):
            fact = next(source, None)
            if fact is None:
                sources.remove(source)
            else:
                yield fact


def _pieces(bare: str) -> list[str]:
    return re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", bare) or [bare]


def _letters(text: str) -> frozenset[str]:
    text = f"^{text.lower()}$"
    return frozenset(text[at : at + 3] for at in range(len(text) - 2))
