"""Documents and nothing else: the untuned base answers from them, and the card says what nobody measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.line.command import Command
from tests.tiny import tiny_model

PLACES = (
    "Aachen",
    "Bergen",
    "Cadiz",
    "Dakar",
    "Essen",
    "Fargo",
    "Genoa",
    "Hobart",
    "Izmir",
    "Jena",
    "Kyoto",
    "Lagos",
)
ROUTES = (
    "Zinnober",
    "Yttrium",
    "Xenolith",
    "Wolfram",
    "Vanadium",
    "Umbra",
    "Talkum",
    "Selenit",
    "Rutil",
    "Quarz",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "manual").mkdir()
    for at, place in enumerate(PLACES):
        sections = "".join(
            f"## {route} {place}\n\nThe {route} line at {place} leaves at {at + number} o'clock.\n\n"
            for number, route in enumerate(ROUTES[:3])
        )
        (tmp_path / "manual" / f"{place}.md").write_text(f"# Station {place}\n\n{sections}", "utf-8")
    tiny_model(tmp_path / "base")
    return tmp_path


@pytest.fixture
def command(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`modelyard` in the folder after `init`; the tiny base and a small load stand in for the real ones."""
    command = Command(folder, monkeypatch, capsys)
    rights = ("--licence", "CC-BY-4.0", "--owner", "Rail Ltd", "--basis", "own")
    assert command("init", "--documents", "manual", *rights).code == 0
    project = folder / "modelyard.yaml"
    text = project.read_text("utf-8").replace("smollm2-135m-instruct", "base")
    few = "release:\n  search: {files: [gguf Q8_0]}\n  engines: [openvino, llamacpp]\n"
    text = text.replace("250", "60").replace("30}", "6}").replace("release:\n", few)
    assert few in text
    project.write_text(text, "utf-8")
    return command


def test_init_then_up_then_try(command: Command) -> None:
    made = command("up", "--json")
    assert made.code == 0, made.out
    steps = {step["step"] for step in made.json["result"]["steps"]}
    assert "train.tune" not in steps
    assert "data.index" in steps
    shown = command("show", "release", "--json").json["result"]
    assert shown["facts"]["quality.task"]["value"] is None
    assert "no question-answer pairs" in shown["facts"]["quality.task"]["why"]
    answered = command("try", "--json", "When does the Zinnober line at Aachen leave?").json["result"]
    assert answered["tokens"]["input"] > 0
    refused = command("try", "--json", "Who was the emperor of the penguins in winter?").json["result"]
    assert refused["answer"] == "NOT STATED"
    assert refused["tokens"]["input"] == 0


def test_a_mixture_of_documents_is_learned_without_any_pair(command: Command, folder: Path) -> None:
    project = folder / "modelyard.yaml"
    text = project.read_text("utf-8")
    assert "method: null" in text
    for told, code in (("mixture: {manual: 1}", 0), ("distil: {teacher: base}", 1)):
        method = f"method: {{lora: {{rank: 4}}}}\n  budget: {{tokens: 600}}\n  {told}"
        project.write_text(text.replace("method: null", method), "utf-8")
        said = command("up", "--to", "train.tune", "--json")
        assert said.code == code, said.out
        if code:
            assert said.json["error"]["what"] == "the corpus has no pair to learn from"
            assert said.json["error"]["where"] == "train.distil"
        else:
            assert "train.tune" in {step["step"] for step in said.json["result"]["steps"]}


def test_the_card_says_on_its_first_line_that_nobody_could_measure_quality(
    command: Command, folder: Path
) -> None:
    assert command("up").code == 0
    from modelyard.records.yard import Yard

    card = (Yard(folder / ".yard").find(step="release.choose")[0].folder / "README.md").read_text("utf-8")
    body = card.split("\n---\n", 1)[1].strip().splitlines()
    title = next(at for at, line in enumerate(body) if line.startswith("# "))
    first = next(line for line in body[title + 1 :] if line.strip())
    assert "unmeasured" in first.lower() or "not measured" in first.lower()
    assert "headings" in card


def test_a_gate_on_quality_that_nobody_can_measure_refuses(command: Command, folder: Path) -> None:
    project = folder / "modelyard.yaml"
    text = project.read_text("utf-8")
    project.write_text(text.replace("  gates:   ", "  gates:\n    quality.answerable: {min: 0.1} "), "utf-8")
    said = command("up", "--json")
    assert said.code == 1
    assert "unmeasured" in said.json["error"]["what"]
