"""The command line: agreed forms, exit codes, languages, and errors that teach."""

from __future__ import annotations

import ast
import json
import re
import string
from pathlib import Path

import pytest
from tests.line.command import Command

import modelyard.cli
from modelyard.cli.main import VERBS
from modelyard.errors import ModelyardError
from modelyard.project import load

CLI = Path(modelyard.cli.__file__).parent


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help(command: Command, verb: str) -> None:
    said = command(verb, "--help")
    assert said.code == 0
    assert "Usage" in said.out


def test_a_mistyped_verb_is_told_the_nearest(command: Command) -> None:
    said = command("statsu")
    assert said.code == 2
    assert "did you mean status?" in said.err


@pytest.mark.parametrize(
    "arguments", [("up",), ("status",), ("try", "x"), ("show", "model"), ("audit", "verify")]
)
def test_without_a_project_each_verb_says_how_to_get_one(
    command: Command, arguments: tuple[str, ...]
) -> None:
    said = command(*arguments)
    assert said.code == 2
    assert "modelyard init" in said.err
    said = command(*arguments, "--json")
    assert said.json["ok"] is False
    assert set(said.json) == {"schema", "ok", "verb", "result", "warnings", "error"}
    assert set(said.json["error"]) == {"code", "what", "where", "try"}


def test_wrong_arguments_are_json_too_when_that_is_asked_for(command: Command) -> None:
    said = command("up", "--json", "--nonsense")
    assert said.code == 2
    assert said.json["error"]["code"] == "usage_error"


def test_init_names_the_missing_flags(command: Command, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    said = command("init", "--documents", "docs", "--owner", "X")
    assert said.code == 2
    assert "--licence and --basis" in said.err
    assert not (tmp_path / "modelyard.yaml").exists()


def test_init_refuses_a_licence_that_nobody_knows_before_it_writes(command: Command, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    said = command("init", "--documents", "docs", "--licence", "CC-BY", "--owner", "X", "--basis", "own")
    assert said.code == 2
    assert "unknown licence 'CC-BY'" in said.err
    assert "CC-BY-" in said.err
    assert not (tmp_path / "modelyard.yaml").exists()


@pytest.mark.parametrize("given", [("documents",), ("pairs",), ("documents", "pairs")])
def test_init_writes_a_valid_commented_project(
    command: Command, tmp_path: Path, given: tuple[str, ...]
) -> None:
    (tmp_path / "documents").mkdir()
    (tmp_path / "pairs").write_text("{}")
    flags = [part for name in given for part in (f"--{name}", name)]
    said = command(
        "init", *flags, "--licence", "CC-BY-4.0", "--owner", "O'Brien: & sons", "--basis", "own", "--json"
    )
    assert said.code == 0
    project = load(tmp_path / "modelyard.yaml")
    assert project.data.sources[0].owner == "O'Brien: & sons"
    assert (project.ground is not None) == ("documents" in given)
    assert (project.train.method is not None) == ("pairs" in given)
    assert "#" in (tmp_path / "modelyard.yaml").read_text()


def test_init_with_a_wrong_name_leaves_nothing(command: Command, tmp_path: Path) -> None:
    flags = ("--licence", "MIT", "--owner", "X", "--basis", "own", "--name", "My Project")
    assert command("init", "--documents", ".", *flags).code == 2
    assert not (tmp_path / "modelyard.yaml").exists()


def test_init_never_overwrites(command: Command, tmp_path: Path) -> None:
    (tmp_path / "modelyard.yaml").write_text("mine")
    said = command("init", "--documents", ".", "--licence", "MIT", "--owner", "X", "--basis", "own")
    assert said.code == 2
    assert (tmp_path / "modelyard.yaml").read_text() == "mine"


def test_a_missing_source_names_the_command_that_makes_it(command: Command, tmp_path: Path) -> None:
    (tmp_path / "modelyard.yaml").write_text(
        "version: 1\nname: a\ndata:\n  sources:\n"
        "    - {path: build/docs, licence: MIT, owner: X, basis: own, made_by: python make_pairs.py}\n"
        "    - {path: build/pairs.jsonl, licence: MIT, owner: X, basis: own, made_by: python make_pairs.py}\n"
    )
    said = command("up")
    assert said.code == 1
    assert "build/docs" in said.err
    assert "build/pairs.jsonl" in said.err
    assert "python make_pairs.py" in said.err


@pytest.mark.parametrize("setting", ["train.base", "train.distil.teacher"])
def test_an_unknown_model_is_told_with_the_setting_that_names_it(
    command: Command, tmp_path: Path, setting: str
) -> None:
    train = {"train.base": "{base: smol}", "train.distil.teacher": "{distil: {teacher: smol}}"}[setting]
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents/one.md").write_text("# One\n\nA text.\n")
    (tmp_path / "modelyard.yaml").write_text(
        "version: 1\nname: a\ndata:\n  sources:\n"
        "    - {path: documents, licence: MIT, owner: X, basis: own}\n"
        f"train: {train}\n"
    )
    error = command("up", "--json").json["error"]
    assert error["where"] == setting
    assert "smollm2-135m-instruct" in error["try"]


def test_an_unknown_step_is_told_the_known_ones(command: Command) -> None:
    said = command("up", "--to", "train.tun")
    assert said.code == 2
    assert "train.tune" in said.err


def test_doctor_prints_the_schema_for_editors(command: Command) -> None:
    assert json.loads(command("doctor", "--schema").out)["properties"]["train"]


def literals() -> set[str]:
    """Every text that the command line gives to translate(), and every help line."""
    found = {help for _, help in VERBS.values()}
    for path in CLI.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "translate" and node.args:
                found |= {
                    part.value
                    for part in ast.walk(node.args[0])
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                }
    return found - {"text", "fidelity", "out", ""}  # keys of rows, not texts


def test_every_message_of_the_command_line_is_there_in_chinese() -> None:
    catalogue = json.loads((CLI / "zh.json").read_text("utf-8"))
    assert sorted(literals() - set(catalogue)) == []


def test_translations_keep_their_places() -> None:
    for english, chinese in json.loads((CLI / "zh.json").read_text("utf-8")).items():
        names = [
            {field for _, field, _, _ in string.Formatter().parse(text) if field}
            for text in (english, chinese)
        ]
        assert names[0] == names[1], english


def test_chinese_by_flag_and_by_locale(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "错误" in command("up", "--lang", "zh").err
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert "错误" in command("up").err
    assert re.search("向最新发布", command("--help").out)


def test_every_error_has_an_exit_code_and_an_http_status() -> None:
    def family(error: type[ModelyardError]) -> list[type[ModelyardError]]:
        return [error, *(each for child in error.__subclasses__() for each in family(child))]

    for error in family(ModelyardError):
        assert error.exit_code in (1, 2)
        assert 400 <= error.http_status < 600
        assert error.__name__ in (modelyard.errors.__doc__ or "")
