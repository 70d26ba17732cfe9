"""The figures of a yard whose records are made for the test; the echo engine stands for the base."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import headline
import pytest
from tests.tiny import tiny_model

import line
from modelyard import machine
from modelyard.errors import RecordError
from modelyard.prompt import NOT_STATED
from modelyard.records.shapes import Fact, Record
from modelyard.records.store import manifest_digest
from modelyard.records.yard import Yard
from modelyard.verify.items import items

HERE = machine.this().kind
PEAK = {"memory.peak_gib": Fact(1.0, "GiB")}
ASKED = 24


def question(at: int) -> dict[str, Any]:
    """Two of three answerable, in eight modules."""
    name = f"m{at % 8}.f{at}"
    passage = f"# {name}\n\nf{at}(a={at}): function in the module m{at % 8}.\nDo it."
    asked = f"What is the default of `{'a' if at % 3 else 'b'}` in {name}?"
    answer = str(at) if at % 3 else NOT_STATED
    rest = {"group": f"m{at % 8}", "kind": "default", "document": None, "absent": False, "messages": None}
    return {"id": f"{at:02}", "question": asked, "passage": passage, "answer": answer} | rest


def judged(right: Mapping[int, bool]) -> list[dict[str, Any]]:
    """Rows of answers.jsonl."""
    return [
        {"id": f"{at:02}", "group": f"m{at % 8}", "answerable": bool(at % 3), "right": float(ok)}
        for at, ok in right.items()
    ]


class Made:
    """A yard in which a base and a tuned model were measured and released."""

    def __init__(self, root: Path) -> None:
        self.yard = Yard(root / ".yard")
        self._root = root
        pairs = [question(at) for at in range(ASKED)]
        corpus = self.put(
            "data.prepare", {"pairs.train.jsonl": pairs, "pairs.report.jsonl": pairs[::-1]}, seconds=30
        )
        tiny_model(root / "base")
        candidate = self.put("optimize.convert", {}, folder=root / "base")
        common = {"candidate": (candidate.id,), "corpus": (corpus.id,)}
        base = self.measured(judged({at: False for at in range(ASKED)}), common)
        tuned = self.measured(judged({at: at != 1 for at in range(ASKED)}), common)
        against = {"base": (base.id,), "against": (tuned.id,)}
        report = self.measured(
            judged({at: at > 4 for at in range(ASKED)}), common | against, type="Q4_0", facts=PEAK
        )
        told = {"winner": {"report": report.id}}
        inputs = {"report": (report.id, base.id, tuned.id), "corpus": (corpus.id,)}
        self.release = self.put("release.choose", {"release.json": told}, inputs, seconds=90)

    def measured(
        self,
        rows: list[dict[str, Any]],
        inputs: Mapping[str, tuple[str, ...]],
        type: str = "F16",
        facts: Mapping[str, Fact] | None = None,
    ) -> Record:
        verdict = {"recipe": {"type": type}, "engine": "echo", "threads": 1, "max_answer_tokens": 12}
        verdict |= {"task_score": "exact_match", "seed": 0, "fidelity": "report"}
        return self.put("verify.measure", {"verdict.json": verdict, "answers.jsonl": rows}, inputs, facts)

    def put(
        self,
        step: str,
        files: Mapping[str, Any],
        inputs: Mapping[str, tuple[str, ...]] | None = None,
        facts: Mapping[str, Fact] | None = None,
        *,
        seconds: float = 0.0,
        folder: Path | None = None,
    ) -> Record:
        number = len(self.yard.find())
        place = folder or self._root / str(number)
        place.mkdir(exist_ok=True)
        for name, body in files.items():
            rows = body if name.endswith(".jsonl") else [body]
            (place / name).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        entries = self.yard.store.take(place)
        record = Record(
            f"{number:016}-1", step, str(number), manifest_digest(entries), {}, inputs or {}, facts or {}, (),
            entries, {"kind": HERE}, "", f"2026-11-09T00:00:{number:02}", seconds, 1,
            view=lambda: self.yard.store.view(entries),
        )  # fmt: skip
        self.yard.ledger.put(record)
        return record


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("project"))


def test_six_systems_answer_the_same_questions(made: Made) -> None:
    systems = headline.answer_all(headline.Verdicts.of(made.yard, made.release))
    figures = headline.figures(systems, seed=0)
    by_name = {figure.figure: figure for figure in figures}
    asked = {name: [row["id"] for row in rows] for name, rows in systems.items()}
    assert len(asked) == 6
    assert all(ids == asked["base"] for ids in asked.values())
    assert by_name["report, always NOT STATED: macro mean"].ours == 0.5
    assert by_name["report, rule program: macro mean"].ours == 1.0
    assert by_name["report, tuned minus base: macro mean"].met is True
    assert (
        by_name["report, tuned minus rule program: macro mean"].met is None
    )  # it stands there, whatever it is
    table = headline.shown(figures, systems)
    assert [row.split("  ")[0] for row in table.splitlines()[2:]] == list(systems)


def test_the_base_sees_two_examples_and_one_system_message(made: Made) -> None:
    train = items([question(at) for at in range(ASKED)])
    shots = [headline.example(train, stratum, 0) for stratum in ("answerable", "unanswerable")]
    messages = headline.in_one([*shots, train[1]])
    assert [message["role"] for message in messages] == ["system", *["user", "assistant"] * 3]
    assert messages[4]["content"] == NOT_STATED
    assert messages[2]["content"] != NOT_STATED


def test_verdicts_on_different_questions_are_not_compared(made: Made) -> None:
    verdicts = headline.Verdicts.of(made.yard, made.release)
    fewer = made.measured(judged({at: True for at in range(5)}), {})
    with pytest.raises(RecordError, match="different questions"):
        headline.answer_all(replace(verdicts, released=fewer))


def test_the_cold_run_is_the_sum_of_what_the_release_was_made_from(made: Made) -> None:
    made.put("data.prepare", {"stray.json": {}}, seconds=1000)
    figures = {figure.figure: figure for figure in line.cold_run(line.ancestors(made.yard, made.release))}
    assert figures["up, cold: data.prepare"].ours == 30
    mine = f"up, cold, {'with' if machine.native_bf16() else 'without'} native bf16"
    other = f"up, cold, {'without' if machine.native_bf16() else 'with'} native bf16"
    assert (figures[mine].ours, figures[mine].met) == (2.0, True)
    assert (figures[other].ours, figures[other].met) == (None, None)


def test_records_of_another_kind_of_machine_time_nothing_here(made: Made) -> None:
    records = [replace(r, environment={"kind": "other"}) for r in line.ancestors(made.yard, made.release)]
    assert all(figure.ours is None for figure in line.cold_run(records))
    assert line.memory(records).ours is None


def test_peak_memory_names_the_step_that_took_it(made: Made) -> None:
    peak = line.memory(line.ancestors(made.yard, made.release))
    assert peak.ours == pytest.approx(1.0737, abs=1e-4)
    assert "verify.measure of Q4_0 on echo" in peak.why


def test_help_is_timed_as_a_whole_process() -> None:
    figure = line.stopwatch("--help", ["--help"], 1, at_most=60)
    assert figure.ours
    assert figure.met
