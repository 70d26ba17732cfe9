"""Prompt lookup is served where every answer stays the same and comes sooner, and nowhere else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.verify.stage import Scripted, record, workspace

from modelyard import engines
from modelyard.engines.protocol import Event, Request
from modelyard.errors import EngineCrashed
from modelyard.records.shapes import Inputs, Output
from modelyard.release.choose import looks_up
from modelyard.verify import lookup
from modelyard.verify.settings import LookupSettings


class Timed(Scripted):
    """An engine whose answers take `seconds`: told, not waited for."""

    def __init__(self, seconds: Callable[[Request], float], other: bool = False) -> None:
        super().__init__(lambda request: (7, 8, 9 + (other and request.id == "q3")))
        self.seconds = seconds

    def submit(self, request: Request) -> None:
        self.asked.append(request)
        at = time.monotonic() + self.seconds(request)
        self._events.append(Event(request.id, tuple(self.say(request)), at, "stop"))


@pytest.fixture
def ask(
    convert: Callable[..., Path], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Output]:
    """Runs the step with an engine for each way."""

    def run(plain: Scripted, quick: Scripted) -> Output:
        def start(*_: Any, lookup: bool, **__: Any) -> Scripted:
            return quick if lookup else plain

        monkeypatch.setattr(engines, "start", start, raising=False)
        inputs = Inputs(
            {"candidate": (record("cand", convert("Q8_0")),), "corpus": (record("corp", corpus),)}
        )
        settings = LookupSettings(engine="openvino", threads=1, callers=8, items=16)
        space = workspace(tmp_path / "lookup")
        made = lookup.run(settings, inputs, space)
        assert json.loads((space.out / "lookup.json").read_text("utf-8"))["candidate"] == "cand"
        assert plain.closed
        return made

    return run


def test_the_same_answers_in_half_the_time_are_served_so(ask: Callable[..., Output]) -> None:
    made = ask(Timed(lambda _: 1.0), Timed(lambda _: 0.5))
    assert made.facts["lookup.same"].value == 1
    assert made.facts["lookup.speedup.c1"].value == pytest.approx(2, rel=0.05)
    assert looks_up(made.facts)


def test_one_answer_that_differs_is_one_too_many(ask: Callable[..., Output]) -> None:
    made = ask(Timed(lambda _: 1.0), Timed(lambda _: 0.5, other=True))
    assert 0.9 < (made.facts["lookup.same"].value or 0) < 1
    assert not looks_up(made.facts)


def test_a_gain_that_may_be_chance_is_none(ask: Callable[..., Output]) -> None:
    made = ask(Timed(lambda _: 1.0), Timed(lambda request: 0.2 if request.id == "q1" else 1.0))
    assert (made.facts["lookup.speedup.c1"].value or 0) > 1
    assert not looks_up(made.facts)


def test_one_caller_does_not_gain_at_the_cost_of_eight(ask: Callable[..., Output]) -> None:
    """One caller asks when its last answer is there, eight ask at once: only then does anything wait."""
    quick = Timed(lambda _: 2.0 if len(quick._events) else 0.5)
    made = ask(Timed(lambda _: 1.0), quick)
    assert (made.facts["lookup.speedup.c1"].low or 0) > 1
    assert (made.facts["lookup.speedup.mix"].value or 1) < 0.9
    assert not looks_up(made.facts)


def test_an_engine_that_fails_leaves_the_release_without(ask: Callable[..., Output]) -> None:
    def crash(_: Request) -> float:
        raise EngineCrashed("the engine died")

    made = ask(Timed(lambda _: 1.0), Timed(crash))
    assert "the engine died" in made.provisional
    assert {fact.value for fact in made.facts.values()} == {None}
    assert not looks_up(made.facts)


def test_without_a_question_that_can_be_asked_nothing_is_measured(
    ask: Callable[..., Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "choose", lambda pool, most, seed: [i for i in pool if i.stratum == "absent"])
    plain = Timed(lambda _: 1.0)
    plain.closed = True  # it is never started
    made = ask(plain, Timed(lambda _: 1.0))
    assert {fact.value for fact in made.facts.values()} == {None}
    assert not plain.asked


def test_nothing_measured_means_no_lookup() -> None:
    assert not looks_up({})
