"""Which candidates a search asks, and which it leaves unasked."""

from __future__ import annotations

from typing import Any

import pytest
from tests.release.stage import facts, verdict

from modelyard.flow import search
from modelyard.release import Verdict
from modelyard.release.settings import Gate

GATES = {"quality.task": Gate(min=0.6)}


class Asked:
    """Measures nothing: the node of a verdict is that verdict, and so is its record."""

    project = None

    def again(self, screened: Any, v: Verdict, fidelity: str, items: int) -> Verdict:
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
    steps = search._asked(Asked(), {}, waiting, GATES)  # type: ignore[arg-type]
    assert answered(steps) == waiting[:asked]


def answered(steps: Any) -> Any:
    """What a line returns, each of its nodes standing for its own record."""
    found = None
    try:
        while True:
            found = steps.send(found)
    except StopIteration as end:
        return end.value
