"""Which candidates a search asks, and which it leaves unasked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tests.release.stage import facts, unmeasured, verdict

from modelyard.flow import search
from modelyard.release import Verdict
from modelyard.release.settings import Gate
from modelyard.verify.settings import Mix

GATES = {"quality.task": Gate(min=0.6)}


class Asked:
    """Measures nothing: the node of a verdict is that verdict, and so is its record."""

    threads = 2
    mix = Mix(callers=2, input_tokens=8, output_tokens=2)

    def __init__(self) -> None:
        self.project = SimpleNamespace(seed=0)
        self.material = SimpleNamespace(corpus="corpus")

    @staticmethod
    def candidate(measured: Any) -> str:
        return str(measured.verdict.candidate)

    @staticmethod
    def made_with(*names: str) -> dict[str, str]:
        return {name: "1" for name in names}

    def again(self, screened: Any, v: Verdict, fidelity: str, items: int, **_: Any) -> Verdict:
        return v


@pytest.mark.parametrize(
    ("right", "asked"),
    [([0.9] * 9, 4), ([0.9, 0.9, 0.9, 0.1] + [0.9] * 5, 8), ([0.1] * 9, 9), ([0.9] * 3, 3), ([], 0)],
)
def test_dearer_files_are_not_asked_once_four_likely_ones_stand(
    monkeypatch: pytest.MonkeyPatch, right: list[float], asked: int
) -> None:
    monkeypatch.setattr(search, "price_of", lambda project: None)
    monkeypatch.setattr(search, "verdict", lambda record, price: record)
    waiting = [
        verdict(f"{at}", candidate=f"file {at}", found=facts(cost=0.01 * (at + 1), task=share))
        for at, share in enumerate(right)
    ]
    steps = search._asked(Asked(), {}, waiting, GATES, ())  # type: ignore[arg-type]
    assert answered(steps) == waiting[:asked]


def answered(steps: Any) -> Any:
    """What a line returns, each of its nodes standing for its own record."""
    found = None
    try:
        while True:
            found = steps.send(found)
    except StopIteration as end:
        return end.value


def test_only_what_keeps_every_gate_but_those_on_speed_races(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "price_of", lambda project: None)
    monkeypatch.setattr(search, "verdict", lambda record, price, probes: record.verdict)
    monkeypatch.setattr(search, "Node", lambda *told, **_: told)
    late = unmeasured("s", "speed is measured in the race of the finalists")
    fulls = [
        SimpleNamespace(settings={"engine": f"engine {name}"}, verdict=verdict(candidate=name, found=found))
        for name, found in (
            ("a", facts(task=0.5)),
            ("b", facts() | {"latency.ttft_p95_s.c1": late}),
            ("c", facts() | {"parity.fault": unmeasured("nats", "the engine failed")}),
        )
    ]
    gates = GATES | {"latency.ttft_p95_s.c1": Gate(max=3)}
    ((_, settings, inputs),) = answered(search._race(Asked(), fulls, {}, gates))  # type: ignore[arg-type]
    assert (settings.engines, inputs["candidates"]) == (("engine b",), ("b",))
    assert answered(search._race(Asked(), fulls[:1], {}, gates)) == ()  # type: ignore[arg-type]
