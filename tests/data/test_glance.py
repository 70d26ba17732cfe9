"""What the sources hold, counted before anything is prepared."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from random import random

import pytest

from modelyard.data import HoldOut, Source, glance

HALF = HoldOut(select=0.25, report=0.25)


def source(**told: object) -> Source:
    told = {"path": "x", "licence": "CC0-1.0", "owner": "us", "basis": "own", **told}
    return Source.model_validate(told)


def rows(path: Path, *told: object) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in told))
    return path


def test_documents_are_files_that_a_reader_knows(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.md").write_text("x" * 400)
    (tmp_path / "b.html").write_text("y" * 400)
    (tmp_path / "c.png").write_bytes(b"\0" * 400)
    (tmp_path / ".hidden.md").write_text("z" * 400)
    found = glance.glance(source(), tmp_path, HALF)
    assert found == glance.Glance(documents=2, tokens=200)


def test_pairs_are_counted_without_what_is_held_out(tmp_path: Path) -> None:
    file = rows(tmp_path / "p.jsonl", *[{"question": "a", "answer": "b"}] * 10, {"text": "x" * 40})
    assert glance.glance(source(), file, HALF) == glance.Glance(documents=1, pairs=5, tokens=10)
    named = [{"question": "a", "answer": "b", "split": part} for part in ("train", "train", "dev", "test")]
    assert glance.glance(source(), rows(file, *named), HALF) == glance.Glance(pairs=2)


def test_fields_of_the_source_are_its_own_and_broken_lines_count_nothing(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('{"q": "a", "answer": "b"}\nno json\n[1]\n{"other": 1}\n')
    told = source(fields={"question": "q"})
    assert glance.glance(told, file, HALF) == glance.Glance(pairs=0.5)


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_a_long_file_is_counted_by_its_first_rows(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glance, "MOST_ROWS", 10)
    file = tmp_path / f"p.{ending}"
    text = b'{"question": "a", "answer": "b"}\n' * 95
    file.write_bytes(gzip.compress(text) if ending.endswith("gz") else text)
    found = glance.glance(source(), file, HALF)
    assert found is not None
    assert found.pairs == pytest.approx(47.5)


def test_a_packed_file_that_breaks_off_is_counted_as_far_as_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glance, "MOST_ROWS", 10)
    told = [json.dumps({"question": str(random()), "answer": str(random())}) + "\n" for _ in range(5000)]
    whole = gzip.compress("".join(told).encode())
    file = tmp_path / "p.jsonl.gz"
    file.write_bytes(whole[: len(whole) // 2])
    found = glance.glance(source(), file, HALF)
    assert found is not None
    assert 5 <= found.pairs < 2500


def test_what_is_not_there_is_unknown_and_not_nothing(tmp_path: Path) -> None:
    assert glance.glance(source(), tmp_path / "missing", HALF) is None
    assert glance.glance(source(), tmp_path, HALF) is None
    assert glance.glance(source(), rows(tmp_path / "empty.jsonl"), HALF) == glance.Glance()
