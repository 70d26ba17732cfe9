"""`release.remote`: a server that serves our file is measured beside this machine's engines."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.engines import openai
from tests.line.command import Command
from tests.line.conftest import Made

from modelyard.records.yard import Yard


def test_a_server_that_serves_our_file_is_measured_and_priced_beside_the_engines(
    desk: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(desk.folder, tmp_path / "desk"))
    command = Command(folder, monkeypatch, capsys)
    file = next(
        record.folder / "model.gguf"
        for record in desk.records("optimize.convert")
        if record.settings["file"] == "gguf Q8_0"
    )
    monkeypatch.setenv("SERVER_KEY", "of-the-server")
    project = folder / "modelyard.yaml"
    text = project.read_text("utf-8")
    with openai.llamacpp(file, "of-the-server") as url:
        remote = f"{{url: {url}, model: tiny, file: gguf Q8_0, key_env: SERVER_KEY, usd_per_hour: 0.05}}"
        project.write_text(text.replace("  search: ", f"  remote: {remote}\n  search: "), "utf-8")
        assert command("up").code == 0
        yard = Yard(folder / ".yard")
        measured = [one for one in yard.find(step="verify.measure") if one.settings["engine"] == "remote"]
        assert {one.facts["parity.identity"].value for one in measured} == {0}
        assert all((one.facts["parity.fault"].value or 1) < 0.15 for one in measured)
        assert command("up").code == 0
        again = [one for one in yard.find(step="verify.measure") if one.settings["engine"] == "remote"]
    assert [one.id for one in again] == [one.id for one in measured]  # measured once
    newest = max(yard.find(step="release.choose"), key=lambda one: one.ended)
    rows = [row for row in newest.json("release.json")["candidates"] if row["label"].endswith(" on remote")]
    assert rows
    content = b"".join(path.read_bytes() for path in yard.root.rglob("*") if path.is_file())
    assert b"of-the-server" not in content  # the key stands in no record
