"""The published cases nearest to a run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelyard.plan.cases import Case, published
from modelyard.plan.nearest import distance, nearest


def named(name: str) -> Case:
    return next(case for case in published() if case.name == name)


def test_a_published_run_is_its_own_nearest_and_tells_its_source() -> None:
    case = named("Llama-2-70B")
    first = nearest(case)[0]
    assert first.case is case
    assert first.case.source
    assert first.utilisation == pytest.approx(0.46, abs=0.01)


def test_each_family_is_there_once_and_the_nearer_come_first() -> None:
    found = nearest(named("OPT-175B"), count=6)
    assert len({one.case.family for one in found}) == len(found) == 6
    assert [one.steps for one in found] == sorted(one.steps for one in found)


def test_what_differs_more_is_further_away() -> None:
    case = named("Nemotron-4-15B")
    assert case.active is not None
    steps = [distance(case, replace(case, active=case.active * factor)) for factor in (1.0, 2.0, 8.0)]
    assert steps[0] == 0
    assert steps[0] < (steps[1] or 0) < (steps[2] or 0)
    other = distance(case, replace(case, hardware="A100"))
    assert other == 1.0
    assert distance(case, replace(case, hardware="abacus")) == 1.0
