"""Other ways to train than the usual one, from the project file to the model's record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.line.command import Command
from tests.line.desk import PROJECT, write_desk
from tests.tiny import tiny_model


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A project with a larger model of the same words beside its base."""
    folder = write_desk(tmp_path / "desk")
    tiny_model(folder / "teacher", seed=3, hidden=96, heads=3)
    rows = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    told = [row | {"rejected": "a coin"} if not row["absent"] else row for row in rows]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))
    return folder


@pytest.mark.parametrize(
    ("method", "unit", "made_from"),
    [
        ("distil: {teacher: teacher}", "nats/token", "teacher"),
        ("preference: {beta: 0.2}", "nats/pair", "base"),
        ("mixture: {docs: 1, pairs.jsonl: 1}", "nats/token", "base"),
    ],
)
def test_a_method_of_the_project_file_makes_the_model(
    desk: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    method: str,
    unit: str,
    made_from: str,
) -> None:
    (desk / "modelyard.yaml").write_text(PROJECT.replace("  base: base\n", f"  base: base\n  {method}\n"))
    command = Command(desk, monkeypatch, capsys)
    done = command("up", "--to", "train.tune", "--json")
    assert done.code == 0, done.err
    record = command("show", "model", "--json").json["result"]
    assert record["facts"]["train.loss_first"]["unit"] == unit
    assert made_from in command("why", "model").out
    again = command("up", "--to", "train.tune", "--json").json["result"]
    assert {step["state"] for step in again["steps"]} == {"kept"}
