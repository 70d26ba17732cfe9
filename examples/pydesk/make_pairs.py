"""Makes build/docs and build/pairs.jsonl from the running Python: `python make_pairs.py`.

The truth comes from the program, not from a person or a model: signatures, docstrings, and the language
reference inside Python. Needs Python 3.11 or later and nothing else. The texts are the Python Software
Foundation's (PSF-2.0); they are made here and never stored with this project.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from callables import Name, Passage, callables, modules
from facts import KINDS, Dropped, Fact, facts
from refusals import Refusals, drawn, number
from topics import entries

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"
MOST = 1800  # pairs of a kind: no kind is more than about a quarter of them
FEWEST = 100  # pairs of a kind: under that a score of it says nothing
MOST_OF_GROUP = 110  # pairs of a kind from one package (tkinter alone has an eighth of all callables)
UNANSWERABLE = 1 / 4
ABSENT = 0.4  # of the unanswerable
SAME_TRUTH = 0.2  # `None` is the default of every second parameter: it must not be the answer to guess
TIMES = {"raises": 2, "version": 3}  # questions a fact, where facts are few
SELECT, REPORT = 0.25, 0.25  # shares of packages: an interval is as wide as packages are few
SALT = 236  # of 400, the one whose shares of each kind come nearest to these; no score was seen
FORMS = {
    "function": ("{0.full}", "`{0.full}`", "{0.full}()", "the function {0.full}", "{0.inside} in {0.module}",
                 "the {0.full} function", "{0.inside}() of the module {0.module}"),
    "class": ("{0.full}", "`{0.full}`", "the class {0.full}", "{0.inside} in {0.module}",
              "the {0.full} class", "{0.inside} of the module {0.module}"),
    "method": ("{0.full}", "`{0.full}`", "the method {0.full}", "{0.full}()", "{0.inside} in {0.module}",
               "the {0.full} method", "{0.inside}() of the module {0.module}"),
}  # fmt: skip
BUILTIN_FORMS = ("{0.inside}", "`{0.inside}`", "the built-in {0.inside}")
BARE_FORMS = ("{0.inside}", "`{0.inside}`", "the {0.noun} {0.inside}")  # the module is what is asked

Row = dict[str, Any]


def split_of(group: str) -> str:
    """The side of the split on which all pairs of a package stand."""
    share = number("split", SALT, group) / 2**64
    return "select" if share < SELECT else "report" if share < SELECT + REPORT else "train"


def called(fact: Fact, turn: int) -> str:
    """One of the ways in which people name the thing."""
    name = fact.name
    if not isinstance(name, Name):
        if re.fullmatch(r"[\w.]+", name):
            return name
        return f"the {name[4:]}" if name.startswith("The ") else f'"{name}"'
    builtin = name.module == "builtins"
    forms = BARE_FORMS if fact.kind == "module" else BUILTIN_FORMS if builtin else FORMS[name.noun]
    return drawn(forms, "form", fact, turn).format(name)


def row(fact: Fact, turn: int, wordings: dict[str, dict[str, list[str]]]) -> Row:
    """The pair of a fact; wordings marked `report` are asked on the report side only."""
    split = split_of(fact.group)
    choice = wordings[fact.wording]
    texts = choice["shared"] + (choice["report"] if split == "report" else [])
    start = number("wording", replace(fact, passage=Passage("", "")))
    name = called(fact, turn)
    question = texts[(start + turn) % len(texts)].format(
        name=name, parameter=drawn(("{0}", "`{0}`", "{0}"), "quote", fact, turn).format(fact.parameter),
        change=fact.change,
    )  # fmt: skip
    asked = (fact.kind, fact.name, fact.parameter, fact.change, fact.passage.document, fact.truth, turn)
    return {
        "id": hashlib.sha256(repr(asked).encode()).hexdigest()[:16],
        "module": fact.group,
        "split": split,
        "kind": fact.kind,
        "question": f"T{question[1:]}" if question.startswith("the ") else question,
        "document": fact.passage.document,
        "passage": fact.passage.text,
        "answer": fact.truth,
        "absent": fact.absent,
    }


class Limits:
    """Lets a kind's facts through until its package, its truth or the kind itself has enough."""

    def __init__(self, most: int, most_of_group: int, most_of_truth: int) -> None:
        self._most = most
        self._of_group, self._of_truth = most_of_group, most_of_truth
        self._groups: Counter[str] = Counter()
        self._truths: Counter[str] = Counter()
        self.taken: list[Fact] = []

    def take(self, fact: Fact) -> str:
        """Takes it, or says why not."""
        if len(self.taken) >= self._most:
            return "the kind has enough"
        if self._groups[fact.group] >= self._of_group:
            return "its package has enough"
        if self._truths[fact.truth] >= self._of_truth:
            return "its answer is too frequent"
        self._groups[fact.group] += 1
        self._truths[fact.truth] += 1
        self.taken.append(fact)
        return ""

    def fill(self, source: Iterable[Fact]) -> None:
        """Takes what it can until it has enough."""
        for fact in source:
            if len(self.taken) >= self._most:
                return
            self.take(fact)


def chosen(kind: str, found: list[Fact], refusals: Refusals, dropped: Dropped) -> list[Row]:
    """The pairs of a kind, a quarter of them without an answer in their passage."""
    wordings = json.loads((HERE / "wordings.json").read_text("utf-8"))
    times = TIMES.get(kind, 1)
    most = int(MOST * (1 - UNANSWERABLE)) // times
    of_group = int(MOST_OF_GROUP * (1 - UNANSWERABLE))
    answerable = Limits(most, of_group, int(most * SAME_TRUTH))
    for fact in sorted((f for f in found if f.kind == kind), key=lambda f: number("order", f)):
        why = answerable.take(fact)
        if why:
            dropped[kind, why] += 1
    rows = [row(fact, turn, wordings) for fact in answerable.taken for turn in range(times)]
    wanted = round(len(rows) * UNANSWERABLE / (1 - UNANSWERABLE))
    absent = Limits(round(wanted * ABSENT), MOST_OF_GROUP // 10, wanted)
    absent.fill(refusals.absent(kind))
    elsewhere = Limits(wanted - len(absent.taken), MOST_OF_GROUP // 4, wanted)
    elsewhere.fill(refusals.stated_elsewhere(kind))
    return rows + [row(fact, 0, wordings) for fact in (*absent.taken, *elsewhere.taken)]


def make(folder: Path) -> None:
    """Writes all documents and pairs below `folder`, and prints what was made and what was left out."""
    found, failed = modules()
    known, told = callables(found), entries()
    if len(known) < 1000:
        sys.exit("make_pairs: this Python has no docstrings. Try: without -OO and PYTHONOPTIMIZE")
    true, dropped = facts(known, told)
    refusals = Refusals(known, told, true)
    rows: list[Row] = []
    for kind in KINDS:
        made = chosen(kind, true, refusals, dropped)
        unique = {one["id"]: one for one in made}
        if len(unique) < FEWEST:
            dropped[kind, f"pairs: fewer than {FEWEST}, so the KIND IS LEFT OUT"] = len(unique)
            continue
        rows += unique.values()
    documents = [passage for one in known for passage in one.passages] + [entry.passage for entry in told]
    (folder / "docs").mkdir(parents=True)
    for passage in documents:
        # Readers put one blank line under a heading whether or not there is one; two would not match.
        (folder / "docs" / passage.document).write_text(passage.text.replace("\n\n", "\n", 1) + "\n", "utf-8")
    lines = [json.dumps(r, ensure_ascii=False, sort_keys=True) for r in sorted(rows, key=lambda r: r["id"])]
    (folder / "pairs.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    for line in table(rows, dropped, failed):
        print(line)
    print(f"{len(documents)} documents, {len(rows)} pairs from {len(known)} callables and {len(told)} topics")


def table(rows: list[Row], dropped: Dropped, failed: dict[str, str]) -> Iterator[str]:
    """What was made, by kind and side, and what was left out and why."""
    yield f"{'kind':<12}{'pairs':>7}{'no answer':>11}{'absent':>8}{'train':>7}{'select':>8}{'report':>8}"
    for kind in KINDS:
        of = [r for r in rows if r["kind"] == kind]
        sides = Counter(r["split"] for r in of)
        no = sum(r["answer"] == "NOT STATED" for r in of)
        absent = sum(r["absent"] for r in of)
        yield (
            f"{kind:<12}{len(of):>7}{no:>11}{absent:>8}"
            f"{sides['train']:>7}{sides['select']:>8}{sides['report']:>8}"
        )
    yield "left out:"
    for (kind, why), times in sorted(dropped.items()):
        yield f"  {kind:<12}{times:>6}  {why}"
    for name, why in sorted(failed.items()):
        yield f"  module {name} cannot be imported here ({why})"


def stamp() -> str:
    """What the build depends on: this Python, and every file beside this script that makes it."""
    sources = sorted([*HERE.glob("*.py"), HERE / "wordings.json"])
    parts = [sys.version, sys.platform, *(p.name + p.read_text("utf-8") for p in sources)]
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def main() -> None:
    """Makes the build, unless the one that stands is whole and from the same script and Python."""
    made = BUILD / "made.json"
    want = stamp()
    if made.is_file() and json.loads(made.read_text("utf-8")).get("stamp") == want:
        print(f"build is complete: {BUILD}")
        return
    part, old = HERE / "build.part", HERE / "build.old"
    for leftover in (part, old):
        shutil.rmtree(leftover, ignore_errors=True)
    part.mkdir()
    make(part)
    (part / "made.json").write_text(json.dumps({"python": sys.version.split()[0], "stamp": want}), "utf-8")
    if BUILD.exists():
        os.replace(BUILD, old)
    os.replace(part, BUILD)
    shutil.rmtree(old, ignore_errors=True)


if __name__ == "__main__":
    main()
