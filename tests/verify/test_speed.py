"""Speed and cost, with an engine whose times are known."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.verify.stage import Scripted

from modelyard.engines.protocol import Completion
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


def test_cost_follows_from_price_and_answers_per_second() -> None:
    load = speed.Load(4, 10.0, tuple(one(0, 1, 2) for _ in range(20)))
    facts = speed.cost(load, MIX, usd_per_hour=3.6, assumed=True)
    assert facts["cost.usd_per_1k_answers"].value == pytest.approx(0.5)
    assert facts["cost.usd_per_mtok"].value == pytest.approx(0.5 / 26 * 1000)
    assert "assumed" in facts["cost.usd_per_1k_answers"].why


def test_every_load_is_measured_at_the_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "ENOUGH_S", 0.0)
    engine = Scripted(lambda _: [])
    loads = speed.measure(engine, list(range(500)), MIX, silence_s=5, seed=0)
    assert set(loads) == {1, 4, 8}
    assert len(loads[8].completions) == 16
    assert {(len(r.prompt), r.max_tokens, r.stop) for r in engine.asked} == {(20, 6, ())}
    assert len({r.prompt for r in engine.asked}) == len(engine.asked)  # nothing to find in a prefix cache


def test_a_slow_engine_is_measured_no_longer_than_its_fewest_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "ENOUGH_S", 1e9)
    loads = speed.measure(Scripted(lambda _: []), list(range(500)), MIX, silence_s=5, seed=0)
    assert all(len(load.completions) <= speed.MOST for load in loads.values())


def test_an_engine_that_stops_early_is_not_timed() -> None:
    class Short(Scripted):
        def submit(self, request: object) -> None:
            super().submit(request)  # type: ignore[arg-type]
            event = self._events.pop()
            self._events.append(type(event)(event.id, (), event.at, "length"))

    with pytest.raises(EngineError, match="wrote 1 tokens where 6"):
        speed.measure(Short(lambda _: []), list(range(500)), MIX, silence_s=5, seed=0)
