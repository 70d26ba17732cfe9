"""The pairs of `report` are looked at once: the audit log remembers who was, and who failed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.flow.fakes import REPORT, SHAKY, WRITE, Told, calls

from modelyard.errors import Refused
from modelyard.flow.looks import Look, earlier, told
from modelyard.flow.node import Line, Node
from modelyard.flow.walk import Walk
from modelyard.records import audit
from modelyard.records.shapes import Record, Step
from modelyard.records.yard import Yard

MEASURED = Step("verify.measure", 1, "tests.flow.fakes:write")


def look(file: str = "f", engine: str = "e", model: str = "m", pairs: str = "p") -> Look:
    return Look(pairs, model, file, engine)


def ask(root: Path, mine: Look) -> Yard:
    """Score `mine` on report, as the search does."""
    yard = Yard(root)

    def line() -> Line[Record]:
        (record,) = yield (Node(MEASURED, Told(text=str(mine)), audited=told(mine)),)
        return record

    Walk(yard, threads=1).follow(line())
    return yard


def refuse(root: Path, file: str) -> None:
    """Have release.choose refuse `file` on report."""

    def line() -> Line[Record]:
        (record,) = yield (Node(REPORT, Told(text=file)),)
        return record

    with pytest.raises(Refused):
        Walk(Yard(root), threads=1).follow(line())


def entries(root: Path) -> int:
    with Yard(root).ledger.read() as connection:
        return audit.verify(connection)


def test_the_first_look_has_none_before_it_and_the_second_has_one(tmp_path: Path) -> None:
    assert earlier(Yard(tmp_path), look()) == 0
    yard = ask(tmp_path, look())
    assert earlier(yard, look()) == 0
    assert earlier(yard, look("g", model="n")) == 1
    ask(tmp_path, look("g", model="n"))
    assert earlier(yard, look()) == 0
    assert earlier(yard, look("g", model="n")) == 1
    assert earlier(yard, look("h", pairs="q")) == 0


def test_a_kept_look_is_audited_once(tmp_path: Path) -> None:
    ask(tmp_path, look())
    before = entries(tmp_path)
    ask(tmp_path, look())
    assert entries(tmp_path) == before


def test_after_a_refusal_no_other_candidate_of_the_model_is_scored(tmp_path: Path) -> None:
    yard = ask(tmp_path, look())
    refuse(tmp_path, "f")
    for other in (look("g"), look(engine="other")):
        with pytest.raises(Refused, match="no second one is tried"):
            earlier(yard, other)
    assert earlier(yard, look()) == 0  # the same one, as after a gate was loosened
    assert earlier(yard, look("g", model="tuned longer")) == 1
    assert earlier(yard, look("g", pairs="new pairs")) == 0


def test_the_same_refusal_is_audited_once(tmp_path: Path) -> None:
    refuse(tmp_path, "f")
    before = entries(tmp_path)
    refuse(tmp_path, "f")
    assert entries(tmp_path) == before


def test_what_an_engine_left_unmeasured_is_made_once_more_and_then_stands(tmp_path: Path) -> None:
    def line() -> Line[Record]:
        (shaky,) = yield (Node(SHAKY, Told()),)
        (last,) = yield (Node(WRITE, Told(text="a"), {"parts": (shaky,)}),)
        return last

    calls.clear()
    for _ in range(3):
        Walk(Yard(tmp_path), threads=1).follow(line())
    assert calls == ["shaky", "a", "shaky"]
    attempts = sorted(record.attempt for record in Yard(tmp_path).find(step="fake.shaky"))
    assert attempts == [1, 2]
    assert all(r.provisional == "the engine crashed" for r in Yard(tmp_path).find(step="fake.shaky"))


def test_a_look_at_what_stands_does_not_make_it_once_more(tmp_path: Path) -> None:
    def line() -> Line[Record]:
        (shaky,) = yield (Node(SHAKY, Told()),)
        return shaky

    Walk(Yard(tmp_path), threads=1).follow(line())
    calls.clear()
    made = Walk(Yard(tmp_path), threads=1, may_run=lambda node: False).follow(line())
    assert made is not None
    assert calls == []
