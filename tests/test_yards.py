"""A yard made by an earlier release opens: what was released then is asked, shown, audited, and billed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.line.command import Command
from tests.serve.service import ask, running

YARDS = sorted(path for path in (Path(__file__).parent / "yards").iterdir() if path.is_dir())


def opened(kept: str, folder: Path) -> Path:
    shutil.copytree(Path(__file__).parent / "yards" / kept, folder)
    (folder / "yard").rename(folder / ".yard")
    return folder


def test_a_yard_of_an_earlier_release_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command(opened("line", tmp_path / "project"), monkeypatch, capsys)
    assert command("audit", "verify", "--json").json["result"]["entries"] >= 20
    assert command("status", "--json").json["result"]["release"]
    assert "quality.task" in command("show", "release").out
    assert "train.precision" in command("why", "model").out
    answered = command("try", "--json", "What does the anvil cost?")
    assert answered.code == 0
    assert answered.json["result"]["tokens"]["input"] > 0


def test_what_was_used_and_charged_then_is_what_is_told_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = opened("service", tmp_path / "project")
    command = Command(folder, monkeypatch, capsys)
    assert command("audit", "verify", "--json").json["result"]["entries"] >= 5
    expected = json.loads((folder / "expected.json").read_text("utf-8"))
    for customer, then in expected["customers"].items():
        asked = ("--customer", customer, "--period", then["period"], "--cutoff", expected["cutoff"], "--json")
        assert command("usage", *asked).json["result"] == then["usage"]
        assert command("invoice", "preview", *asked).json["result"] == then["preview"]
    waiting = command("usage", "quarantine", "list", "--json").json["result"]["events"]
    assert [json.loads(event["body"])["subject"] for event in waiting] == ["nobody"]


def test_a_release_of_then_is_served_with_the_key_of_then(tmp_path: Path) -> None:
    folder = opened("service", tmp_path / "project")
    key = json.loads((folder / "expected.json").read_text("utf-8"))["key"]
    with running(folder) as service, service.client(key) as client:
        said = client.post("/v1/chat/completions", json=ask("What does the kettle cost?"))
        assert said.status_code == 200
        assert said.json()["choices"][0]["message"]["annotations"]
        assert client.get("/v1/usage").json()["requests"] == 4


@pytest.mark.parametrize("kept", YARDS, ids=lambda path: path.name)
def test_a_kept_yard_is_small(kept: Path) -> None:
    assert sum(path.stat().st_size for path in kept.rglob("*") if path.is_file()) < 2 << 20
