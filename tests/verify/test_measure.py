"""verify.measure, with an engine that is told what to say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.verify.stage import Scripted, pair, record, workspace, write_rows

from modelyard import engines
from modelyard.engines.protocol import Request
from modelyard.errors import EngineCrashed, RecordError
from modelyard.index.bm25 import Passage, build
from modelyard.prompt import Prompter
from modelyard.records.shapes import Fact, Inputs, Output, Record
from modelyard.verify import measure, speed
from modelyard.verify.forced import Forced, save
from modelyard.verify.settings import MeasureSettings

FORCED = [Forced("a", (4, 5, 6), (7, 2), (-1.0, -1.25)), Forced("b", (4, 6), (8,), (-0.75,))]


class Stage:
    """Everything that the step reads, and the engine that it will start."""

    def __init__(self, candidate: Path, corpus: Path, place: Path) -> None:
        self.prompter = Prompter(candidate)
        self.candidate, self.corpus, self.place = candidate, corpus, place
        self.identity = Fact(0.0, "differences")
        self.engine = Scripted(self.right)
        self.started: list[dict[str, Any]] = []
        self.runs = 0

    def start(self, name: str, model: Path, **told: Any) -> Scripted:
        self.started.append({"name": name, "model": model, **told})
        return self.engine

    def right(self, request: Request) -> list[int]:
        """The right answer to any question of the corpus, read off the prompt itself."""
        text = self.prompter.decode(request.prompt)
        house = text.rpartition("cat of house ")[2].partition(" sleep")[0]
        stated = f"house {house} sleeps on roof" in text and int(house) < 30
        return self.prompter.encode(f"roof {int(house) + 1}" if stated else "NOT STATED")

    def run(
        self, extra: Mapping[str, Sequence[Record]] | None = None, **changes: Any
    ) -> tuple[Output, Record]:
        """The step's output, and a record of it."""
        self.runs += 1
        reference = self.place / f"reference{self.runs}"
        reference.mkdir()
        save(reference / "forced.json", FORCED)
        facts = {"parity.identity": self.identity, "parity.kl": Fact(0.01, "nats/token")}
        inputs = Inputs(
            {
                "candidate": (record("cand", self.candidate),),
                "reference": (record("ref", reference, facts),),
                "corpus": (record("corp", self.corpus),),
                **{role: tuple(records) for role, records in (extra or {}).items()},
            }
        )
        settings = MeasureSettings.model_validate(
            {
                "engine": "llamacpp",
                "threads": 2,
                "fidelity": "screen",
                "items": 30,
                "task_score": "exact_match",
                "mix": {"callers": 8, "input_tokens": 30, "output_tokens": 4},
            }
            | changes
        )
        space = workspace(self.place / f"measure{self.runs}")
        output = measure.run(settings, inputs, space)
        return output, record(f"verdict{self.runs}", space.out, output.facts)


@pytest.fixture
def stage(
    convert: Callable[..., Path], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stage]:
    """The step's surroundings."""
    found = Stage(convert("Q8_0"), corpus, tmp_path)
    monkeypatch.setattr(engines, "start", found.start, raising=False)
    monkeypatch.setattr(speed, "ENOUGH_S", 0.0)
    yield found
    assert found.engine.closed or not found.started, "the engine was left running"


def test_a_model_that_is_always_right_scores_one(stage: Stage) -> None:
    output, verdict = stage.run()
    facts = output.facts
    for name in ("quality.task", "quality.answerable", "quality.unanswerable"):
        fact = facts[name]
        assert fact.value == 1.0
        assert fact.low is not None
        assert fact.low < 1.0
        assert fact.high == 1.0
    assert facts["safety.false_answer"].value == 0.0
    assert facts["memory.peak_gib"].value == 0.25
    assert facts["parity.kl"].value == 0.01
    assert facts["parity.fault"].value == pytest.approx(0.5 / 3)
    rows = [json.loads(line) for line in (verdict.folder / "answers.jsonl").read_text().splitlines()]
    assert {"id", "group", "kind", "answerable", "right", "stated", "answer", "ended"} == set(rows[0])
    assert all(row["ended"] for row in rows)
    told = verdict.json("verdict.json")
    assert (told["engine"], told["split"], told["has_pairs"]) == ("llamacpp", "select", True)
    assert set(told["limits"]) == {"parity.fault", "parity.kl"}


def test_a_model_that_never_answers_is_half_right_and_never_false(stage: Stage) -> None:
    stage.engine.say = lambda _: stage.prompter.encode("NOT STATED")
    facts = stage.run()[0].facts
    assert facts["quality.task"].value == 0.5
    assert facts["quality.unanswerable"].value == 1.0
    assert facts["quality.answerable"].value == 0.0


def test_a_model_that_always_answers_gives_false_answers(stage: Stage) -> None:
    stage.engine.say = lambda _: stage.prompter.encode("roof 1")
    facts = stage.run()[0].facts
    assert facts["safety.false_answer"].value == 1.0
    assert facts["quality.unanswerable"].value == 0.0


def test_answers_are_cut_at_the_length_of_the_right_ones_and_end_at_the_end_token(stage: Stage) -> None:
    stage.engine.say = lambda _: [7] * 500
    output, verdict = stage.run()
    longest = max(len(stage.prompter.encode(pair("train", at)["answer"])) + 1 for at in range(46))
    assert output.facts["task.answer_tokens_p99"].value == longest
    questions = [request for request in stage.engine.asked if request.stop]
    assert {(request.max_tokens, request.stop) for request in questions} == {(longest, (stage.prompter.end,))}
    assert '"ended":false' in (verdict.folder / "answers.jsonl").read_text()
    assert stage.started[-1]["context_tokens"] >= max(
        len(r.prompt) + r.max_tokens for r in stage.engine.asked
    )


def test_the_report_looks_at_other_pairs_than_the_search(stage: Stage) -> None:
    _, screen = stage.run()
    _, report = stage.run(fidelity="report", items=99)
    assert '"id":"select-' in (screen.folder / "answers.jsonl").read_text()
    assert '"id":"select-' not in (report.folder / "answers.jsonl").read_text()
    assert len((report.folder / "answers.jsonl").read_text().splitlines()) == 40


def test_gain_and_loss_are_paired_by_question(stage: Stage) -> None:
    _, right = stage.run(fidelity="full", items=99, is_reference=True)
    assert right.facts["loss.task"].value == 0.0
    stage.engine.say = lambda _: stage.prompter.encode("NOT STATED")
    output, _ = stage.run({"base": [right], "against": [right]}, fidelity="full", items=99)
    assert output.facts["gain.task"].value == pytest.approx(-0.5)
    assert output.facts["loss.task"].value == pytest.approx(0.5)
    loss = output.facts["loss.task"]
    assert loss.low is not None
    assert loss.high is not None
    assert 0 < loss.low < 0.5 < loss.high < 1


def test_a_verdict_on_other_pairs_is_not_compared_with(stage: Stage) -> None:
    _, report = stage.run(fidelity="report")
    with pytest.raises(RecordError, match="other pairs"):
        stage.run({"against": [report]})


def test_without_verdicts_to_compare_with_gain_and_loss_are_unmeasured(stage: Stage) -> None:
    facts = stage.run()[0].facts
    assert facts["gain.task"].value is None
    assert facts["loss.task"].value is None
    assert "reference" in facts["loss.task"].why


@pytest.fixture
def index(stage: Stage, tmp_path: Path) -> Record:
    """The pairs' passages, in an index without a limit."""
    folder = tmp_path / "index"
    folder.mkdir()
    rows = [pair("select", at) for at in range(12)]
    build(
        folder / "passages.db",
        [
            Passage(row["document"], "", f"house {at}", row["passage"].strip(), "CC0-1.0", "n")
            for at, row in enumerate(rows)
        ],
    )
    (folder / "index.json").write_text(json.dumps({"limit": None}))
    return record("index", folder)


def test_the_grounded_score_counts_right_answers_and_right_refusals(stage: Stage, index: Record) -> None:
    output, verdict = stage.run({"index": [index]}, fidelity="full", items=99)
    grounded = [json.loads(line) for line in (verdict.folder / "grounded.jsonl").read_text().splitlines()]
    assert len(grounded) == 30 + 6
    # Twelve passages are in the index; the other answerable questions find another house's and say so.
    assert sum(row["right"] for row in grounded if row["answerable"]) == 12
    assert all(row["right"] for row in grounded if not row["answerable"])
    assert output.facts["quality.grounded"].value == pytest.approx((12 / 30 + 1) / 2)


def test_below_the_limit_the_answer_is_not_stated_without_asking(stage: Stage, index: Record) -> None:
    (index.folder / "index.json").write_text(json.dumps({"limit": 99.0}))
    output, _ = stage.run({"index": [index]}, fidelity="full", items=99)
    assert output.facts["quality.grounded"].value == pytest.approx(0.5)
    assert len([request for request in stage.engine.asked if request.stop]) == 40


def test_a_screen_does_not_retrieve(stage: Stage, index: Record) -> None:
    fact = stage.run({"index": [index]})[0].facts["quality.grounded"]
    assert fact.value is None
    assert "at full and report only" in fact.why


def test_documents_without_pairs_leave_quality_unmeasured_and_speed_measured(
    stage: Stage, tmp_path: Path
) -> None:
    only = tmp_path / "documents"
    only.mkdir()
    (only / "documents.jsonl").write_bytes((stage.corpus / "documents.jsonl").read_bytes())
    stage.corpus = only
    output, verdict = stage.run(fidelity="full")
    for name in ("quality.task", "quality.grounded", "safety.false_answer"):
        assert output.facts[name].value is None
        assert output.facts[name].why == "the corpus has no question-answer pairs"
    assert output.facts["parity.fault"].value is not None
    assert output.facts["memory.peak_gib"].value is not None
    assert verdict.json("verdict.json")["has_pairs"] is False


def test_a_file_that_is_not_the_model_is_not_run(stage: Stage) -> None:
    stage.identity = Fact(2.0, "differences")
    output, _ = stage.run()
    assert stage.started == []
    assert output.facts["parity.identity"].value == 2.0
    assert output.facts["quality.task"].value is None
    assert output.facts["speed.s_per_1k_answers"].value is None
    assert not output.provisional  # it will not be the model the next time either


def test_speed_is_measured_at_the_mix_and_left_out_on_request(stage: Stage) -> None:
    facts = stage.run()[0].facts
    timed = [request for request in stage.engine.asked if not request.stop]
    assert {(len(request.prompt), request.max_tokens) for request in timed} == {(30, 4)}
    assert (facts["speed.s_per_1k_answers"].value or 0) > 0
    stage.engine.asked.clear()
    facts = stage.run(speed=False)[0].facts
    assert all(request.stop for request in stage.engine.asked)
    assert facts["speed.s_per_1k_answers"].value is None


def test_an_engine_keeps_prefixes_while_it_answers_and_never_while_it_is_timed(stage: Stage) -> None:
    kept = {}
    for timed in (True, False):
        stage.started.clear()
        stage.run(speed=timed)
        kept[timed] = [(one["exact"], one["prefix_caching"]) for one in stage.started]
    assert kept == {True: [(False, False)] * 2, False: [(False, False), (False, True)]}


def test_an_engine_that_crashes_leaves_its_facts_unmeasured_with_its_reason(stage: Stage) -> None:
    def crash(_: Request) -> list[int]:
        raise EngineCrashed("the engine's process died", where="llamacpp")

    stage.engine.say = crash
    output, _ = stage.run()
    for name in ("quality.task", "speed.s_per_1k_answers", "memory.peak_gib"):
        assert output.facts[name].value is None
        assert "process died" in output.facts[name].why
    assert "process died" in output.provisional


def test_log_probabilities_that_are_no_numbers_fail_the_candidate(stage: Stage) -> None:
    stage.engine = Scripted(stage.right, lambda prompt, answer: [float("nan")] * len(answer))
    fact = stage.run()[0].facts["parity.fault"]
    assert fact.value is None
    assert "cannot be used" in fact.why


def test_conversations_are_scored_by_f1(stage: Stage, tmp_path: Path) -> None:
    chat = tmp_path / "chat"
    chat.mkdir()
    rows = [
        {"id": f"{at}", "group": f"{at}", "kind": None}
        | {
            "messages": [
                {"role": "user", "content": f"Hi {at}"},
                {"role": "assistant", "content": "red house"},
            ]
        }
        for at in range(9)
    ]
    for split in ("train", "select", "report"):
        write_rows(chat / f"pairs.{split}.jsonl", rows)
    stage.corpus = chat
    stage.engine.say = lambda _: stage.prompter.encode("red car")
    facts = stage.run(task_score="f1")[0].facts
    assert facts["quality.task"].value == pytest.approx(0.5)
    assert facts["quality.unanswerable"].value is None
    assert "one kind" in facts["quality.task"].why


def test_a_file_that_could_not_be_made_starts_no_engine(stage: Stage) -> None:
    why = "not made: the builder does not know falcon"
    stage.identity = Fact(None, "differences", why=why)
    output, _ = stage.run()
    assert not stage.started
    assert output.facts["parity.fault"].why == output.facts["quality.task"].why == why
    assert output.provisional == ""
