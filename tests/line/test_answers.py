"""Answers of a larger model on the line: gone on with after a kill, kept, counted, and named."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.data.teacher import Body, Said, Teacher, answer, question, refusal, teaching
from tests.line.command import Command
from tests.serve.service import make_key, make_yard, running
from tests.tiny import tiny_model

# Imported here so that the child, a fork of this process, starts at once.
import modelyard.data.answer
import modelyard.data.prepare  # noqa: F401
from modelyard.cli.place import Place
from modelyard.flow import Walk, line

SECRET = "sk-very-secret-0123456789"
THINGS = ("anvil", "kettle", "ladder", "winch", "trowel", "chisel", "pulley", "bellows", "compass", "lantern")
PROJECT = {
    "version": 1,
    "name": "taught",
    "task": {"kind": "extract", "hold_out": {"by": "thing", "select": 0.3, "report": 0.3}},
    "train": {"base": "base"},
}


def price(body: Body, n: int) -> Said:
    """Reads the price out of the passage, and does not know everything."""
    text = question(body)
    if "winch" in text:
        return answer("6 co", "length")
    if "colour" in text:
        return answer("pink")  # no word of the passage
    return answer(text.split(" costs ")[1].split(".")[0] if "cost?" in text else "NOT STATED")


@pytest.fixture
def teacher() -> Iterator[Teacher]:
    with teaching() as found:
        found.habit = price
        yield found


@pytest.fixture
def folder(tmp_path: Path, teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project: thirty questions with their passages, the answers to be written by the teacher."""
    monkeypatch.setenv("TEACHER_KEY", SECRET)
    place = tmp_path / "project"
    place.mkdir()
    tiny_model(place / "base")
    rows = []
    for at, thing in enumerate(THINGS):
        passage = f"The {thing} of clerk {thing}@example.com costs {at + 3} coins."
        for ask in ("What does the {} cost?", "Which colour has the {}?", "What does the {} weigh?"):
            rows.append({"thing": thing, "question": ask.format(thing), "passage": passage})
    rows[5] |= {"answer": "NOT STATED"}  # a person's own
    (place / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    write(place, teacher.url)
    return place


def write(folder: Path, url: str, **changes: Any) -> None:
    told = {"url": url, "model": "big", "terms": "Apache-2.0", "permits_training": True, "at_once": 2}
    told |= {"key_env": "TEACHER_KEY", **changes}
    source = {"path": "questions.jsonl", "licence": "MIT", "owner": "Nobody", "basis": "own", "answers": told}
    (folder / "modelyard.yaml").write_text(yaml.safe_dump(PROJECT | {"data": {"sources": [source]}}), "utf-8")


def to_corpus(folder: Path) -> Walk:
    place = Place.at(folder)
    walk = Walk(place.yard, threads=1, to="data.prepare")
    walk.follow(line(place.project, place.folder, place.yard))
    return walk


def test_killed_in_the_middle_only_the_missing_answers_are_asked_for(folder: Path, teacher: Teacher) -> None:
    twelve = threading.Event()

    def until_twelve(body: Body, n: int) -> Said:
        if n >= 12:
            twelve.set()
            return Said({}, wait_s=60)  # what is under way when the process dies
        return price(body, n)

    teacher.habit = until_twelve
    child = multiprocessing.get_context("fork").Process(target=to_corpus, args=(folder,))
    child.start()
    assert twelve.wait(60)
    (said,) = (folder / ".yard" / "work").glob("*/state/said.jsonl")
    while said.read_bytes().count(b"\n") < 12 and child.is_alive():
        time.sleep(0.01)
    child.kill()
    child.join()
    assert child.exitcode == -9
    before, teacher.habit = len(teacher.asked), price
    walk = to_corpus(folder)
    first, later = teacher.questions[:12], teacher.questions[before:]
    assert len(later) == 29 - 12
    assert not set(first) & set(later)
    record = walk.done[0].record
    assert record is not None
    assert record.fact("data.answers").n == 29
    again = to_corpus(folder)
    assert {done.state for done in again.done} == {"kept"}
    assert len(teacher.asked) == before + 17


def test_the_corpus_says_who_wrote_what_and_nothing_vanishes(
    folder: Path, teacher: Teacher, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command(folder, monkeypatch, capsys)
    said = command("up", "--to", "data.prepare")
    assert said.code == 0, said.err
    assert "data.answer questions.jsonl" in said.err
    assert "as fast as the larger model answers" in said.err
    corpus = Place.at(folder).yard.find(step="data.prepare")[0]
    (source,) = corpus.json("sheet.json")["sources"]
    assert source["pairs"]["ingested"] == 30
    assert source["pairs"]["dropped"]["answer_cut"] == 3  # all of the winch
    assert source["pairs"]["dropped"]["answer_not_in_passage"] == 9  # the colours of the others
    assert source["pairs"]["kept"] == 30 - sum(source["pairs"]["dropped"].values())
    told = source["answers"]
    assert (told["asked_for"], told["models"]) == ("big", {"big-model-0613": 29})
    assert (told["terms"], told["permits_training"]) == ("Apache-2.0", True)
    pairs = [
        json.loads(row)
        for part in ("train", "select", "report")
        for row in (corpus.folder / f"pairs.{part}.jsonl").read_text("utf-8").splitlines()
    ]
    written = [pair for pair in pairs if pair.get("generated_by") == "big-model-0613"]
    assert len(written) == len(pairs) - 1 == told["pairs"] == corpus.fact("data.pairs.generated").value
    assert {pair["answer"] for pair in pairs} >= {"3 coins", "NOT STATED"}
    assert "example.com" not in json.dumps([teacher.asked, pairs])
    assert "agreement with the larger model" in command("why", "corpus").out
    assert "Apache-2.0" in command("why", "answers").out
    assert command("show", "answers", "--json").json["result"]["facts"]["data.answers"]["value"] == 26
    everything = [path for path in (folder / ".yard").rglob("*") if path.is_file()]
    assert len(everything) > 5
    assert not any(SECRET.encode() in path.read_bytes() for path in everything)


def test_only_what_can_change_an_answer_asks_again(folder: Path, teacher: Teacher) -> None:
    to_corpus(folder)
    asked = len(teacher.asked)
    write(folder, teacher.url, terms="https://example.com/terms", at_once=3, timeout_s=9, key_env="OTHER")
    os.environ.pop("OTHER", None)
    walk = to_corpus(folder)
    assert [done.state for done in walk.done if done.node.step.name == "data.answer"] == ["kept"]
    corpus = next(d.record for d in walk.done if d.node.step.name == "data.prepare")
    assert corpus is not None
    assert corpus.json("sources.json")["sources"][0]["answers"]["terms"] == "https://example.com/terms"
    assert len(teacher.asked) == asked
    write(folder, teacher.url, max_tokens=99)
    to_corpus(folder)
    assert len(teacher.asked) == 2 * asked


def test_terms_that_no_longer_permit_training_stop_the_line(
    folder: Path, teacher: Teacher, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    to_corpus(folder)
    asked = len(teacher.asked)
    write(folder, teacher.url, permits_training=False)
    command = Command(folder, monkeypatch, capsys)
    said = command("up", "--lang", "zh")
    assert said.code == 1
    assert "项目文件声明" in said.err
    assert len(teacher.asked) == asked


def test_a_failing_endpoint_is_told_with_what_where_and_try(
    folder: Path, teacher: Teacher, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher.habit = lambda body, n: refusal(404, "The model big does not exist")
    error = Command(folder, monkeypatch, capsys)("up", "--json").json["error"]
    assert error["code"] == "source_error"
    assert "has no model big" in error["what"]
    assert teacher.url in error["where"]
    assert "/models" in error["try"]


def test_samples_of_one_question_stand_on_one_side_of_the_split(folder: Path, teacher: Teacher) -> None:
    project = yaml.safe_load((folder / "modelyard.yaml").read_text("utf-8"))
    project["task"] = {"kind": "chat", "hold_out": {"by": "row", "select": 0.3, "report": 0.3}}
    project["data"]["sources"][0]["answers"] |= {"samples": 3, "temperature": 1.0}
    (folder / "modelyard.yaml").write_text(yaml.safe_dump(project), "utf-8")
    teacher.habit = lambda body, n: answer(f"It has {body['seed']} of it, says {question(body)}.")
    walk = to_corpus(folder)
    corpus = next(d.record for d in walk.done if d.node.step.name == "data.prepare")
    assert corpus is not None
    sides: dict[str, set[str]] = {}
    for part in ("train", "select", "report"):
        for row in map(json.loads, (corpus.folder / f"pairs.{part}.jsonl").read_text("utf-8").splitlines()):
            sides.setdefault(row["id"].partition("#")[0], set()).add(part)
    assert corpus.fact("data.pairs.generated").value == 3 * 29
    assert len(sides) == 30
    assert all(len(parts) == 1 for parts in sides.values())


def test_the_products_own_service_can_write_the_answers(
    folder: Path, tmp_path: Path, teacher: Teacher
) -> None:
    served = make_yard(tmp_path / "served")
    os.environ["TEACHER_KEY"] = make_key(served)
    with running(served) as service:
        write(folder, f"{service.url}/v1", model="desk", max_tokens=60)
        walk = Place.at(folder)
        done = Walk(walk.yard, threads=1, to="data.answer")
        done.follow(line(walk.project, walk.folder, walk.yard))
        events = service.events()
    record = done.done[0].record
    assert record is not None
    assert record.fact("data.answers").n == 29
    read = record.fact("data.answers.input_tokens").value
    assert read == sum(event["input_tokens"] for event in events)
    assert set(record.json("generator.json")["models"]) == {"desk"}
