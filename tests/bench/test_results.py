"""Rows of figures: kept by kind of machine, held against their goals, shown in one page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import results
from results import Figure


def row(figure: str, kind: str, ours: float | None, **more: Any) -> dict[str, Any]:
    machine = {"kind": kind, "cpu": "C", "cores": 2, "memory_gib": 8}
    why = "" if ours is not None else "not here"
    made = Figure(figure, ours, "s", why=why, **more).row()
    return made | {"machine": machine, "versions": {}, "commit": "c0ffee", "date": "2026-11-09"}


def test_a_run_leaves_the_rows_of_other_kinds_of_machine() -> None:
    old = [row("a", "AVX2 only", 1.0), row("a", "native bf16", 2.0), row("gone", "AVX2 only", 3.0)]
    new = [row("b", "native bf16", 5.0), row("a", "native bf16", 4.0)]
    kept = [(r["figure"], r["machine"]["kind"], r["ours"]) for r in results.merge(old, new)]
    assert kept == [("b", "native bf16", 5.0), ("a", "AVX2 only", 1.0), ("a", "native bf16", 4.0)]


def test_a_run_of_a_part_keeps_the_figures_of_the_other_parts() -> None:
    old = [row("a", "k", 1.0), row("b", "k", 2.0)]
    assert [r["ours"] for r in results.merge(old, [row("b", "k", 3.0)], whole=False)] == [1.0, 3.0]
    assert [r["ours"] for r in results.merge(old, [row("b", "k", 3.0)])] == [3.0]


def test_an_unmeasured_row_does_not_replace_a_measured_one() -> None:
    assert results.merge([row("a", "k", 1.0)], [row("a", "k", None)])[0]["ours"] == 1.0
    assert results.merge([row("a", "k", None)], [row("a", "k", 1.0)])[0]["ours"] == 1.0


def test_a_goal_is_held_against_the_unfavourable_bound() -> None:
    assert Figure("a", 1.0, "s", at_most=1).met is True
    assert Figure("a", 0.9, "s", low=0.7, high=1.1, at_most=1).met is False
    assert Figure("a", 0.2, "share", low=-0.1, high=0.5, above=0).met is False
    assert Figure("a", 0.2, "share", low=0.1, high=0.3, above=0).met is True


def test_an_unmeasured_figure_meets_and_misses_nothing_and_says_why() -> None:
    unmeasured = Figure("a", None, "s", at_most=1, why="no such machine").row()
    assert (unmeasured["met"], unmeasured["why"], unmeasured["ratio"]) == (None, "no such machine", None)
    assert Figure("a", 1.0, "s").row()["why"]
    with pytest.raises(ValueError, match="say why"):
        Figure("a", None, "s")


def test_write_makes_the_json_and_the_page_and_a_second_write_changes_nothing(tmp_path: Path) -> None:
    figures = [Figure("speed | all", 4.0, "s", peer=8.0, at_most=5), Figure("b", None, "GB", why="not here")]
    results.write("line", figures, folder=tmp_path)
    first = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    results.write("line", figures, folder=tmp_path)
    assert first == {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    rows = json.loads((tmp_path / "results" / "line.json").read_text("utf-8"))
    names = "figure ours peer ratio low high goal met unit why machine versions commit date"
    assert set(rows[0]) == set(names.split())
    assert rows[0]["ratio"] == 0.5
    page = (tmp_path / "RESULTS.md").read_text("utf-8")
    assert "| speed \\| all | 4 s | 8 | 0.5 | at most 5 | yes |  |" in page
    assert "| b | – |" in page


def test_the_page_that_is_committed_is_made_of_the_rows_that_are() -> None:
    page = results.FOLDER / "RESULTS.md"
    if page.exists():
        assert page.read_text("utf-8") == results.markdown(results.FOLDER / "results")
