"""An environment of its own is whole or not there: made from a wheel on this disk, no network."""

from __future__ import annotations

import fcntl
import json
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.line.command import Command

from modelyard import environments
from modelyard.environments import Environment
from modelyard.environments import install as installing
from modelyard.errors import Busy, EngineError, MissingPackage, NoRoom, ProjectError


def wheel(folder: Path, number: str) -> Path:
    """A package `desk_thing` that knows its version."""
    info = f"desk_thing-{number}.dist-info"
    path = folder / f"desk_thing-{number}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("desk_thing.py", f"import sys\nprint('number {number}', *sys.argv[1:])\n")
        out.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: desk-thing\nVersion: {number}\n")
        out.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        out.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """An environment of one small package, known by the name `desk`."""
    monkeypatch.setenv(environments.VARIABLE, str(tmp_path / "env"))
    pins = tmp_path / "desk.txt"
    pins.write_text(f"desk-thing @ {wheel(tmp_path, '1.0').as_uri()}\n", "utf-8")
    made = Environment("desk", pins, ("desk-thing",), 0.01, 1)
    monkeypatch.setitem(environments.ENVIRONMENTS, "desk", made)
    return made


def silent(_: str) -> None:
    """Nobody listens."""


def test_an_environment_is_installed_once_and_runs_its_own_packages(desk: Environment) -> None:
    said: list[str] = []
    assert environments.missing("desk") == "modelyard doctor --install desk"
    with pytest.raises(MissingPackage, match="desk"):
        environments.command("desk", "desk_thing")
    assert installing.install(desk, said.append)
    assert any("desk" in line for line in said)
    assert environments.missing("desk") is None
    assert environments.version("desk", "desk-thing") == "1.0"
    assert not installing.install(desk, said.append)
    heard: list[str] = []
    environments.run("desk", "desk_thing", ["a", "b"], heard.append)
    assert heard == ["number 1.0 a b"]


def test_other_requirements_make_it_anew(desk: Environment, tmp_path: Path) -> None:
    installing.install(desk, silent)
    desk.requirements.write_text(f"desk-thing @ {wheel(tmp_path, '2.0').as_uri()}\n", "utf-8")
    assert environments.missing("desk")
    assert installing.install(desk, silent)
    assert environments.version("desk", "desk-thing") == "2.0"


@pytest.mark.parametrize("mark", [None, "", "{}", '{"requirements": "other"}'])
def test_half_an_installation_counts_as_none_and_is_made_whole(desk: Environment, mark: str | None) -> None:
    (desk.folder / "bin").mkdir(parents=True)
    (desk.folder / "bin" / "python").write_text("half", "utf-8")
    if mark is not None:
        (desk.folder / environments.MARK).write_text(mark, "utf-8")
    assert environments.missing("desk")
    assert installing.install(desk, silent)
    assert environments.version("desk", "desk-thing") == "1.0"


def test_what_pip_cannot_install_is_told_and_leaves_nothing_that_counts(desk: Environment) -> None:
    desk.requirements.write_text("desk-thing @ file:///nowhere/desk_thing-1.0-py3-none-any.whl\n", "utf-8")
    with pytest.raises(EngineError, match="installation failed"):
        installing.install(desk, silent)
    assert environments.missing("desk")


def test_two_do_not_install_the_same_at_once(desk: Environment) -> None:
    environments.home().mkdir(parents=True)
    with (environments.home() / "desk.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Busy):
            installing.install(desk, silent)
    assert installing.install(desk, silent)


def test_a_full_disk_is_told_before_anything_is_fetched(desk: Environment) -> None:
    with pytest.raises(NoRoom, match="GiB are needed"):
        installing.install(replace(desk, gib=1e6), silent)
    assert not desk.folder.exists()


def test_an_unknown_environment_is_told_with_those_that_there_are(desk: Environment) -> None:
    with pytest.raises(ProjectError) as told:
        environments.one("dseks")
    assert "litert" in told.value.try_


@pytest.fixture
def ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    command = Command(tmp_path, monkeypatch, capsys)
    return lambda *arguments: json.loads(command(*arguments, "--json").out)


def test_doctor_installs_an_environment_and_says_where(desk: Environment, ask: Callable[..., Any]) -> None:
    told = ask("doctor", "--install", "desk")["result"]
    assert told == {"environment": "desk", "installed": True, "folder": str(desk.folder)}
    assert ask("doctor", "--install", "desk")["result"]["installed"] is False
    assert "litert" in ask("doctor", "--install", "lite-rt")["error"]["try"]


def test_without_a_project_there_is_no_place_to_install(
    ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(environments.VARIABLE, raising=False)
    assert "modelyard.yaml" in ask("doctor", "--install", "litert")["error"]["what"]


def test_doctor_names_each_device_and_calls_only_the_cpu_fit(
    ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Core:
        available_devices = ("CPU", "GPU.0", "NPU")

    monkeypatch.setitem(sys.modules, "openvino", type("openvino", (), {"Core": Core}))
    rows = {row["name"]: row for row in ask("doctor")["result"]["checks"]}
    assert rows["openvino on CPU"]["state"] == "ok"
    for device in ("GPU.0", "NPU"):
        assert rows[f"openvino on {device}"]["state"] == "warn"
        assert "untested" in rows[f"openvino on {device}"]["found"]


def test_a_driver_that_breaks_while_it_looks_is_no_device(
    ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("no driver")

    monkeypatch.setitem(sys.modules, "openvino", type("openvino", (), {"Core": broken}))
    names = {row["name"] for row in ask("doctor")["result"]["checks"]}
    assert "engine openvino" in names
    assert not any(name.startswith("openvino on") for name in names)
