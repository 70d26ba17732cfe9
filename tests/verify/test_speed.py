"""Speed and cost, with an engine whose times are known."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.verify.stage import Scripted

from modelyard.engines.protocol import Completion, Request
from modelyard.errors import EngineError
from modelyard.verify import speed
from modelyard.verify.settings import Mix

MIX = Mix(callers=4, input_tokens=20, output_tokens=6)


def one(start: float, first: float, last: float, tokens: int = 11) -> Completion:
    """An answer with known times."""
    return Completion("a", tuple(range(tokens)), "length", start, first, last)


@given(st.integers(1, 40), st.integers(1, 90), st.integers(1, 20))
def test_prompts_have_the_asked_length_and_come_from_the_text(length: int, tokens: int, count: int) -> None:
    corpus = list(range(length))
    found = speed.prompts(corpus, tokens, count, seed=1)
    assert len(found) == count
    assert all(len(prompt) == tokens for prompt in found)
    assert all((b - a) % length == 1 % length for prompt in found for a, b in itertools.pairwise(prompt))


def test_prompts_start_at_different_places() -> None:
    found = speed.prompts(list(range(100)), 30, 50, seed=1)
    assert len({prompt[0] for prompt in found}) == 50


def test_figures_follow_from_the_times() -> None:
    load = speed.Load(1, 4.0, (one(0.0, 0.5, 1.5), one(1.5, 2.5, 3.5)))
    facts = speed.facts(load, input_tokens=100)
    assert facts["speed.decode_tps.c1"].value == pytest.approx(10.0)
    assert facts["speed.prefill_tps.c1"].value == pytest.approx(100 / 0.75)
    assert facts["latency.ttft_p50_s.c1"].value == pytest.approx(0.75)
    assert facts["latency.ttft_p95_s.c1"].value == pytest.approx(1.0)


def test_eight_callers_count_together() -> None:
    load = speed.Load(8, 3.0, tuple(one(0.0, 0.1 * (at + 1), 2.0 + 0.1 * (at + 1)) for at in range(8)))
    facts = speed.facts(load, input_tokens=100)
    assert facts["speed.decode_tps.c8"].value == pytest.approx(8 * 10 / 2.0)
    assert facts["speed.prefill_tps.c8"].value == pytest.approx(800 / 0.8)


def test_seconds_for_a_thousand_answers_follow_from_the_turns() -> None:
    turns = [speed.Load(4, seconds, tuple(one(0, 1, 2) for _ in range(20))) for seconds in (9.0, 10.0, 11.0)]
    single = speed.seconds(turns[:1], MIX)
    assert (single.value, single.low) == (pytest.approx(450), None)
    fact = speed.seconds(turns, MIX)
    assert fact.value == pytest.approx(500)
    # Student's 97.5% quantile at two degrees of freedom is 4.303; the turns deviate by 50.
    assert fact.high == pytest.approx(500 + 4.303 * 50 / 3**0.5, rel=1e-3)
    assert fact.n == 3


def test_every_turn_is_measured_at_the_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "ENOUGH_S", 0.0)
    engine = Scripted(lambda _: [])
    load = speed.measure(engine, list(range(500)), MIX, 8, silence_s=5, seed=0)
    assert len(load.completions) == 16
    assert {(len(r.prompt), r.max_tokens, r.stop) for r in engine.asked} == {(20, 6, ())}
    assert len({r.prompt for r in engine.asked}) == len(engine.asked)  # nothing to find in a prefix cache


def test_a_slow_engine_is_measured_no_longer_than_its_fewest_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "ENOUGH_S", 1e9)
    load = speed.measure(Scripted(lambda _: []), list(range(500)), MIX, 8, silence_s=5, seed=0)
    assert len(load.completions) <= speed.MOST


def test_an_engine_that_stops_early_is_not_timed() -> None:
    class Short(Scripted):
        def submit(self, request: object) -> None:
            super().submit(request)  # type: ignore[arg-type]
            event = self._events.pop()
            self._events.append(type(event)(event.id, (), event.at, "length"))

    with pytest.raises(EngineError, match="wrote 1 tokens where 6"):
        speed.measure(Short(lambda _: []), list(range(500)), MIX, 8, silence_s=5, seed=0)


def test_the_runners_of_a_race_take_turns_there_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "ENOUGH_S", 0.0)
    order: list[str] = []

    class Told(Scripted):
        def submit(self, request: Request) -> None:
            if not order or order[-1] != self.name:
                order.append(self.name)
            super().submit(request)

    def runner(name: str) -> speed.Runner:
        engine = Told(lambda _: [])
        engine.name = name
        return speed.Runner(engine)

    runners = [runner("a"), runner("b")]
    monkeypatch.setattr(speed, "MORE_ROUNDS", 0)
    speed.race(runners, list(range(500)), MIX, silence_s=5, seed=0, report=lambda *_, **__: None)
    assert order == ["a", "b", "a", "b"]  # a b, b a, a b: the same twice in a row counts once
    for one_runner in runners:
        assert {callers: len(turns) for callers, turns in one_runner.loads.items()} == {4: 3, 1: 1, 8: 1}


@pytest.mark.parametrize(
    ("seconds", "turns"), [([1.0, 1.2, 2.0], [5, 5, 3]), ([1.0, 2.0, 2.0], [3, 3, 3]), ([1.0], [3])]
)
def test_only_those_close_to_the_fastest_race_on(
    monkeypatch: pytest.MonkeyPatch, seconds: list[float], turns: list[int]
) -> None:
    runners = [speed.Runner(Scripted(lambda _: [])) for _ in seconds]
    pace = {id(runner.engine): took for runner, took in zip(runners, seconds, strict=True)}

    def measured(engine: Scripted, corpus: object, mix: object, callers: int, **_: object) -> speed.Load:
        return speed.Load(callers, pace[id(engine)], (one(0, 1, 2),))

    monkeypatch.setattr(speed, "measure", measured)
    speed.race(runners, list(range(500)), MIX, silence_s=5, seed=0, report=lambda *_, **__: None)
    assert [len(runner.loads[4]) for runner in runners] == turns


def test_a_runner_that_fails_is_out_and_the_others_race_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "ENOUGH_S", 0.0)

    class Falls(Scripted):
        def submit(self, request: Request) -> None:
            raise EngineError("it fell over")

    runners = [speed.Runner(Falls(lambda _: [])), speed.Runner(Scripted(lambda _: []))]
    speed.race(runners, list(range(500)), MIX, silence_s=5, seed=0, report=lambda *_, **__: None)
    assert "fell over" in runners[0].failed
    assert len(runners[1].loads[4]) == speed.ROUNDS
