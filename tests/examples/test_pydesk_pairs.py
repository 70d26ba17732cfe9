"""The pairs of examples/pydesk: made by its script in a copy of its folder, by the Python that runs this."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from modelyard.data.readers import read_page
from modelyard.index import cut
from modelyard.prompt import NOT_STATED

HERE = Path(__file__).resolve().parents[2] / "examples" / "pydesk"
WORDINGS = json.loads((HERE / "wordings.json").read_text("utf-8"))
Row = dict[str, Any]


def _copy(folder: Path) -> Path:
    for source in [*HERE.glob("*.py"), HERE / "wordings.json"]:
        shutil.copy(source, folder)
    return folder


def _run(folder: Path, *arguments: str, seed: str = "0") -> str:
    done = subprocess.run(
        [sys.executable, *(arguments or ("make_pairs.py",))],
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = _copy(tmp_path_factory.mktemp("pydesk"))
    (folder / "story.txt").write_text(_run(folder), "utf-8")
    return folder


@pytest.fixture(scope="module")
def rows(made: Path) -> list[Row]:
    return [json.loads(line) for line in (made / "build" / "pairs.jsonl").open(encoding="utf-8")]


@pytest.fixture(scope="module")
def documents(made: Path) -> dict[str, list[str]]:
    """Each document as the product's own reader and index cut it."""
    files = sorted((made / "build" / "docs").iterdir())
    return {f.name: [p.text for p in cut(read_page(f, f.name).text, 160)] for f in files}


def test_every_truth_stands_in_its_passage_word_for_word(rows: list[Row]) -> None:
    stated = [row for row in rows if row["answer"] != NOT_STATED]
    assert len(stated) > 4000
    assert [row["id"] for row in stated if row["answer"] not in row["passage"]] == []


def test_a_passage_is_exactly_what_retrieval_gives_for_its_document(
    rows: list[Row], documents: dict[str, list[str]]
) -> None:
    assert [name for name, passages in documents.items() if len(passages) != 1] == []
    assert [row["id"] for row in rows if documents[row["document"]] != [row["passage"]]] == []


def test_a_quarter_of_each_kind_has_no_answer_and_some_of_these_are_about_nothing(rows: list[Row]) -> None:
    for kind in {row["kind"] for row in rows}:
        of = [row for row in rows if row["kind"] == kind]
        refused = [row for row in of if row["answer"] == NOT_STATED]
        absent = [row for row in refused if row["absent"]]
        assert 100 <= len(of) <= 2500
        assert 0.2 <= len(refused) / len(of) <= 0.3, kind
        assert len(absent) * 3 >= len(refused), kind
    assert not any(row["absent"] for row in rows if row["answer"] != NOT_STATED)


def test_what_is_absent_stands_in_no_document(rows: list[Row], documents: dict[str, list[str]]) -> None:
    words = {word for texts in documents.values() for word in re.findall(r"\w+", texts[0])}
    for row in (row for row in rows if row["absent"]):
        asked = set(re.findall(r"\w+", row["question"]))
        about = row["passage"].split("\n", 1)[0].removeprefix("# ").rpartition(".")[2]
        # An invented callable is a word of no document; an invented parameter, none of its own passage.
        invented_parameter = row["kind"] == "default" and about in asked
        assert asked - (set(re.findall(r"\w+", row["passage"])) if invented_parameter else words), row


def test_a_package_stands_on_one_side_and_each_side_has_every_kind(rows: list[Row]) -> None:
    sides = defaultdict(set)
    kinds = defaultdict(set)
    for row in rows:
        sides[row["module"]].add(row["split"])
        kinds[row["split"]].add(row["kind"])
    assert all(len(side) == 1 for side in sides.values())
    assert set(kinds) == {"train", "select", "report"}
    assert kinds["select"] == kinds["report"] == kinds["train"]


def _matches(template: str, question: str) -> bool:
    pattern = re.escape(template)
    for place in ("name", "parameter", "change"):
        pattern = pattern.replace(re.escape(f"{{{place}}}"), "(.+)")
    return re.fullmatch(pattern, question, re.IGNORECASE) is not None


def test_eight_wordings_a_kind_are_learnt_and_at_least_two_more_are_only_reported(rows: list[Row]) -> None:
    asked: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        asked[row["split"]][row["kind"]].append(row["question"])
    for wording, choice in WORDINGS.items():
        kind = wording.partition(".")[0]
        assert len(choice["shared"]) >= 8
        assert len(choice["report"]) >= 2
        for template in choice["report"]:
            assert any(_matches(template, question) for question in asked["report"][kind]), template
            for side in ("train", "select"):
                assert not any(_matches(template, question) for question in asked[side][kind]), template
        for template in choice["shared"]:
            assert any(_matches(template, question) for question in asked["train"][kind]), template


def test_ids_are_unique_and_no_passage_answers_a_question_in_two_ways(rows: list[Row]) -> None:
    assert max(Counter(row["id"] for row in rows).values()) == 1
    answers = defaultdict(set)
    for row in rows:
        answers[row["question"], row["passage"]].add(row["answer"])
    assert [key for key, different in answers.items() if len(different) > 1] == []


def test_nothing_of_this_machine_is_in_the_texts(made: Path, documents: dict[str, list[str]]) -> None:
    text = "\n".join(texts[0] for texts in documents.values())
    assert re.search(r" at 0x[0-9a-f]{5}", text) is None
    for place in (str(made), sys.prefix, f"{Path.home()}/"):
        assert place not in text


def test_a_half_made_build_is_made_again_to_the_same_bytes_and_a_whole_one_is_kept(
    made: Path, tmp_path: Path
) -> None:
    again = _copy(tmp_path)
    (again / "build" / "docs").mkdir(parents=True)
    (again / "build" / "docs" / "left over.md").write_text("half", "utf-8")
    (again / "build.part").mkdir()
    _run(again, seed="7")
    first = {p.name: p.read_bytes() for p in (made / "build").rglob("*") if p.is_file()}
    second = {p.name: p.read_bytes() for p in (again / "build").rglob("*") if p.is_file()}
    assert first == second
    assert not (again / "build.part").exists()
    before = (again / "build" / "pairs.jsonl").stat().st_mtime_ns
    assert "complete" in _run(again)
    assert (again / "build" / "pairs.jsonl").stat().st_mtime_ns == before


def test_a_kind_with_too_few_pairs_is_left_out_and_said(tmp_path: Path) -> None:
    folder = _copy(tmp_path)
    script = "import pathlib, make_pairs as m; m.FEWEST = 400; m.make(pathlib.Path('out'))"
    story = _run(folder, "-c", script)
    kinds = {json.loads(line)["kind"] for line in (folder / "out" / "pairs.jsonl").open(encoding="utf-8")}
    assert "purpose" in kinds
    assert "version" not in kinds
    assert re.search(r"version +\d+ +pairs: fewer than 400, so the KIND IS LEFT OUT", story)


def test_the_story_counts_what_was_made_and_what_was_left_out(made: Path, rows: list[Row]) -> None:
    story = (made / "story.txt").read_text("utf-8")
    for kind, pairs in Counter(row["kind"] for row in rows).items():
        assert re.search(rf"^{kind} +{pairs} ", story, re.MULTILINE)
    assert re.search(r"^  purpose +\d+  longer than 20 words$", story, re.MULTILINE)
