"""A yard made by an earlier release opens: what was released then is still asked, shown and audited."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.line.command import Command

YARDS = sorted(path for path in (Path(__file__).parent / "yards").iterdir() if path.is_dir())


@pytest.mark.parametrize("kept", YARDS, ids=lambda path: path.name)
def test_a_yard_of_an_earlier_release_opens(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(kept, tmp_path / "project"))
    (folder / "yard").rename(folder / ".yard")
    command = Command(folder, monkeypatch, capsys)
    assert command("audit", "verify", "--json").json["result"]["entries"] >= 20
    assert command("status", "--json").json["result"]["release"]
    assert "quality.task" in command("show", "release").out
    assert "train.precision" in command("why", "model").out
    answered = command("try", "--json", "What does the anvil cost?")
    assert answered.code == 0
    assert answered.json["result"]["tokens"]["input"] > 0


@pytest.mark.parametrize("kept", YARDS, ids=lambda path: path.name)
def test_a_kept_yard_is_small(kept: Path) -> None:
    assert sum(path.stat().st_size for path in kept.rglob("*") if path.is_file()) < 2 << 20
