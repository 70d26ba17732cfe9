"""data.answer against a real server: who is asked what, what is kept, and when it ends with an error."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.data.steps import Made, fingerprint
from tests.data.teacher import Said, Teacher, answer, by_heart, question, refusal, teaching

from modelyard.data import Answers, AnswerSettings, asker
from modelyard.data import answer as answer_step
from modelyard.data.journal import Journal
from modelyard.data.pairs import pair
from modelyard.data.questions import filled, open_shape
from modelyard.data.settings import Fields
from modelyard.errors import SourceError
from modelyard.prompt import NOT_STATED, conversation
from modelyard.records.shapes import Inputs, Workspace

SECRET = "sk-very-secret-0123456789"
Row = dict[str, Any]
Run = Callable[..., Made]


@pytest.fixture
def teacher() -> Iterator[Teacher]:
    with teaching() as found:
        yield found


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asker, "FIRST_WAIT_S", 0.001)


@pytest.fixture
def ask(tmp_path: Path, teacher: Teacher) -> Run:
    """ask(rows, **answers): run data.answer on a source of `rows`; again in the same place goes on there."""

    def run(rows: list[Row], redact: tuple[Any, ...] = (), **more: Any) -> Made:
        source = tmp_path / "source"
        source.mkdir(exist_ok=True)
        (source / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        told = {"url": teacher.url, "model": "big", "terms": "MIT", "permits_training": True, **more}
        step = AnswerSettings(
            path="q.jsonl", answers=Answers(**told), redact=redact, phone_region="US", seed=7
        )
        work = tmp_path / "work"
        (work / "out").mkdir(parents=True, exist_ok=True)
        (work / "state").mkdir(exist_ok=True)
        space = Workspace(work, 1, lambda *text, **numbers: None)
        return Made(
            answer_step.run(step, Inputs(sources=(fingerprint("q.jsonl", source),)), space), space.out
        )

    return run


def rows_of(count: int) -> list[Row]:
    return [{"id": f"r{n}", "question": f"Question number {n}?"} for n in range(count)]


def rules(made: Made) -> dict[str, str]:
    """Rule by item of what got no answer."""
    return {row["item"]: row["rule"] for row in made.rows("answers.jsonl") if "rule" in row}


def test_every_question_without_an_answer_is_asked_once_and_written_in_order(
    ask: Run, teacher: Teacher
) -> None:
    rows = rows_of(9)
    rows[4]["answer"] = "a person's own"
    made = ask(rows, at_once=3)
    assert sorted(teacher.questions) == sorted(f"Question number {n}?" for n in range(9) if n != 4)
    assert set(teacher.paths) == {"/v1/chat/completions"}
    assert [row["item"] for row in made.rows("answers.jsonl")] == [
        f"q.jsonl:{n + 1}" for n in range(9) if n != 4
    ]
    assert {row["answer"] for row in made.rows("answers.jsonl")} == {"It is 18."}
    facts = made.output.facts
    assert (facts["data.answers"].value, facts["data.answers"].n) == (8, 8)
    assert facts["data.answers.input_tokens"].value == 88
    assert facts["data.answers.output_tokens"].value == 24
    told = made.json("generator.json")
    assert (told["asked_for"], told["models"]) == ("big", {"big-model-0613": 8})
    assert told["fingerprints"] == {"fp_1": 8}
    choices = {choice.name: choice.value for choice in made.output.choices}
    assert choices["terms"] == "MIT"


def test_a_passage_is_asked_as_the_small_model_will_be(ask: Run, teacher: Teacher) -> None:
    teacher.habit = lambda body, n: answer("**NOT STATED**.")
    made = ask([{"question": "What?", "passage": "The anvil costs 3."}], instructions="Be short.")
    expected = conversation({"question": "What?", "passage": "The anvil costs 3.", "answer": "?"})[:-1]
    assert teacher.asked[0]["messages"][1:] == expected[1:]
    assert teacher.asked[0]["messages"][0]["content"] == f"Be short.\n\n{expected[0]['content']}"
    assert made.rows("answers.jsonl")[0]["answer"] == NOT_STATED


TEXT = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=9)
OPEN = st.one_of(
    st.builds(lambda q: {"question": q}, TEXT),
    st.builds(lambda q, p: {"question": q, "passage": p, "answer": ""}, TEXT, TEXT),
    st.builds(lambda q, i: {"instruction": q, "input": i, "output": ""}, TEXT, TEXT),
    st.builds(lambda q: {"instruction": q}, TEXT),
    st.builds(lambda q: {"prompt": q}, TEXT),
    st.builds(lambda q: {"prompt": [{"role": "user", "content": q}], "completion": []}, TEXT),
    st.builds(
        lambda q, a, r: {
            "messages": [
                {"role": "user", "content": q},
                {"role": "assistant", "content": a},
                {"role": "user", "content": r},
            ]
        },
        *(TEXT, TEXT, TEXT),
    ),
    st.builds(lambda q: {"conversations": [{"from": "human", "value": q}]}, TEXT),
)


@example({"question": "\uf988"}, "\uf988")  # a character that NFC replaces
@given(OPEN, TEXT)
def test_an_open_row_with_an_answer_is_a_pair_that_ends_with_it(row: Row, text: str) -> None:
    shape = open_shape(row, Fields())
    assert shape is not None
    whole = filled(row, shape, Fields(), text)
    assert open_shape(whole, Fields()) is None
    asked = conversation(pair(whole, shape, Fields(), id="a", source="s", item="i").row())
    composed = normalize("NFC", text)  # as all text that comes in
    assert asked[-1] == {"role": "assistant", "content": composed}
    told = normalize("NFC", str(row))
    assert all(message["content"] != composed or composed in told for message in asked[:-1])


@pytest.mark.parametrize(
    "row",
    [
        {"text": "a document"},
        {"question": "q", "answer": "a"},
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"messages": []},
        {"other": 1},
    ],
)
def test_a_row_that_asks_nothing_is_not_open(row: Row) -> None:
    assert open_shape(row, Fields()) is None


@pytest.mark.parametrize(
    ("said", "rule"),
    [
        (answer("half of an ans", "length"), "answer_cut"),
        (answer("<think>so, let me see", "stop"), "answer_cut"),
        (answer("  \n"), "answer_empty"),
        (answer("<think>hm</think>"), "answer_empty"),
        (answer(None, refusal="I will not"), "answer_refused"),
        (answer("half", "content_filter"), "answer_refused"),
        (refusal(400, "too long for me", code="context_length_exceeded"), "answer_rejected"),
        (refusal(500, "it crashes on this one"), "answer_failed"),
        (Said(b"<html>hello</html>"), "answer_garbled"),
        (Said({"choices": []}), "answer_garbled"),
        (Said({"choices": [{"message": {"content": [1]}}]}), "answer_garbled"),
        (Said({}, wait_s=0.5), "answer_late"),
    ],
)
def test_a_question_without_a_usable_answer_is_left_out_with_the_reason(
    ask: Run, teacher: Teacher, said: Said, rule: str
) -> None:
    teacher.habit = lambda body, n: said if "2?" in question(body) else by_heart(body, n)
    made = ask(rows_of(4), at_once=1, timeout_s=0.3)
    assert rules(made) == {"q.jsonl:3": rule}
    assert made.output.facts["data.answers.failed"].value == 1
    assert "for me" not in (made.folder / "answers.jsonl").read_text()


def test_thinking_is_no_part_of_an_answer(ask: Run, teacher: Teacher) -> None:
    teacher.habit = lambda body, n: answer("<think>6 times 7\nmakes</think>\n\n42")
    assert ask(rows_of(1)).rows("answers.jsonl")[0]["answer"] == "42"


@pytest.mark.parametrize(
    "said", [refusal(429), refusal(500), refusal(503, "Loading model"), Said({}, wait_s=0.5)]
)
def test_what_may_pass_is_asked_again(ask: Run, teacher: Teacher, said: Said) -> None:
    teacher.habit = lambda body, n: said if n < 1 else by_heart(body, n)
    made = ask(rows_of(3), at_once=1, timeout_s=0.3)
    assert rules(made) == {}
    assert len(teacher.asked) == 4


def test_every_caller_waits_as_long_as_the_endpoint_says(ask: Run, teacher: Teacher) -> None:
    def busy(body: dict[str, Any], n: int) -> Said:
        if n == 0:
            return refusal(429, headers={"Retry-After": "1"})
        return replace(by_heart(body, n), wait_s=0.3 if n == 1 else 0.0)  # the other caller is under way then

    teacher.habit = busy
    ask(rows_of(6), at_once=2)
    assert min(teacher.times[2:]) - teacher.times[0] >= 1.0
    assert len(teacher.asked) == 7


@pytest.mark.parametrize(
    ("said", "what", "try_"),
    [
        (refusal(401, "Incorrect API key"), "wants a key: HTTP 401, Incorrect API key", "key_env"),
        (refusal(404, "no such model"), "has no model big at this URL", "/models"),
        (refusal(429, code="insufficient_quota"), "has no credit left", "top it up"),
        (refusal(402), "has no credit left", "top it up"),
        (refusal(429, headers={"Retry-After": "3600"}), "has no time", "in 60 min"),
        (refusal(429), "has no time", "`modelyard up`"),
        (refusal(502, "bad gateway"), "fails at the questions: HTTP 502, bad gateway", "its log"),
        (Said(b"hello"), "no chat completion", "/v1"),
        (Said({}, wait_s=0.5), "gave no answer in 0.2 s", "timeout_s"),
        (Said({}, 302, {"Location": "http://127.0.0.1:1/"}), "gives no answer: HTTP 302", "/v1"),
        (refusal(422, "temperature: not known"), "takes none of the questions: HTTP 422, temp", "mend"),
    ],
)
def test_an_endpoint_that_answers_nothing_ends_the_step(
    ask: Run, teacher: Teacher, said: Said, what: str, try_: str
) -> None:
    teacher.habit = lambda body, n: said
    with pytest.raises(SourceError) as found:
        ask(rows_of(40), timeout_s=0.2)
    assert what in found.value.what
    assert try_ in found.value.try_
    assert teacher.url in found.value.where
    assert len(teacher.asked) <= 4 * asker.TRIES


def test_a_server_that_is_not_there_is_told_at_once(ask: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        with pytest.raises(SourceError, match="cannot be reached") as found:
            ask(rows_of(2), url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
    assert "start its server" in found.value.try_


def test_an_endpoint_that_breaks_in_the_middle_ends_the_step_and_keeps_what_it_said(
    ask: Run, teacher: Teacher
) -> None:
    teacher.habit = lambda body, n: by_heart(body, n) if n < 6 else refusal(500, "down")
    with pytest.raises(SourceError, match="fails at the questions: HTTP 500, down"):
        ask(rows_of(30), at_once=2)
    answered = set(teacher.questions[:6])
    teacher.habit, before = by_heart, len(teacher.asked)
    made = ask(rows_of(30), at_once=2)
    assert made.output.facts["data.answers"].value == 30
    assert len(set(teacher.questions[before:])) == 24  # the first run's other thread may still come once
    assert not answered & set(teacher.questions[before:])


def test_when_no_question_gets_a_usable_answer_there_is_no_record(ask: Run, teacher: Teacher) -> None:
    teacher.habit = lambda body, n: answer("hal", "length")
    with pytest.raises(SourceError, match="no answer to 3 questions, each for a reason: answer_cut 3"):
        ask(rows_of(3))


def test_a_source_without_an_open_question_is_an_error(ask: Run, teacher: Teacher) -> None:
    with pytest.raises(SourceError, match="no question without an answer"):
        ask([{"question": "q", "answer": "a"}])
    assert teacher.asked == []


def test_parameters_go_by_the_names_that_the_endpoint_knows(ask: Run, teacher: Teacher) -> None:
    def new(body: dict[str, Any], n: int) -> Said:
        if "max_tokens" in body:
            text = "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
            return refusal(400, text, param="max_tokens", code="unsupported_parameter")
        if "seed" in body:
            return refusal(400, "seed is not known", param="seed")
        return by_heart(body, n)

    teacher.habit = new
    made = ask(rows_of(8), temperature=0.7, max_tokens=99)
    assert rules(made) == {}
    assert teacher.asked[-1]["max_completion_tokens"] == 99
    assert {c.name: c.value for c in made.output.choices if c.name in ("max_tokens", "seed")} == {
        "max_tokens": "max_completion_tokens",
        "seed": "left out",
    }


def test_several_samples_of_a_question_are_asked_with_seeds_of_their_own(ask: Run, teacher: Teacher) -> None:
    made = ask(rows_of(2), temperature=1.0, samples=3)
    assert sorted(body["seed"] for body in teacher.asked) == [7, 7, 8, 8, 9, 9]
    assert [(row["item"], row["sample"]) for row in made.rows("answers.jsonl")] == [
        (f"q.jsonl:{n}", k) for n in (1, 2) for k in (0, 1, 2)
    ]


def test_personal_data_does_not_leave_this_machine(ask: Run, teacher: Teacher) -> None:
    rows = [{"question": "Who is ann@example.com?", "passage": "Ann (ann@example.com, +1 650-253-0000)."}]
    ask(rows, redact=("email", "phone"))
    sent = json.dumps(teacher.asked)
    assert "[e-mail]" in sent
    assert "example.com" not in sent
    assert "253" not in sent


def test_the_key_is_sent_and_stands_nowhere(
    ask: Run, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHER_KEY", SECRET)
    teacher.habit = lambda body, n: answer(f"your key is {SECRET}", model=SECRET)
    made = ask(rows_of(2), key_env="TEACHER_KEY")
    assert set(teacher.keys) == {f"Bearer {SECRET}"}
    assert made.rows("answers.jsonl")[0]["answer"] == "your key is [key]"
    teacher.habit = lambda body, n: refusal(403, f"Incorrect API key: {SECRET}", code=SECRET)
    with pytest.raises(SourceError, match=r"refuses the key: HTTP 403, Incorrect API key: \[key\]") as found:
        ask(rows_of(3), key_env="TEACHER_KEY")
    assert SECRET not in str(found.value)
    assert not any(SECRET.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_key_that_is_not_set_is_said_before_anything_is_asked(ask: Run, teacher: Teacher) -> None:
    with pytest.raises(SourceError, match="NO_SUCH_KEY is not set"):
        ask(rows_of(1), key_env="NO_SUCH_KEY")
    assert teacher.asked == []


@pytest.mark.parametrize(
    ("stated", "what"),
    [
        ({"permits_training": None}, "nobody has stated"),
        ({"permits_training": False}, "do not permit training"),
        ({"terms": "Apache 2"}, "neither a URL nor a known licence"),
        ({"terms": ""}, "neither a URL nor a known licence"),
    ],
)
def test_without_terms_that_permit_training_nothing_is_asked(
    ask: Run, teacher: Teacher, stated: dict[str, Any], what: str
) -> None:
    with pytest.raises(SourceError, match=what):
        ask(rows_of(1), **stated)
    assert teacher.asked == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://host/v1"},
        {"url": "host:8000/v1"},
        {"url": "http://[::1/v1"},
        {"url": f"http://me:{SECRET}@host/v1"},
        {"url": f"http://host/v1?key={SECRET}"},
        {"key_env": SECRET},
        {"samples": 2},
    ],
)
def test_a_wrong_setting_is_refused(wrong: dict[str, Any]) -> None:
    told = {"url": "http://host/v1", "model": "big", "terms": "MIT"}
    Answers(**told)
    with pytest.raises(ValueError, match=r"(url|key_env|samples): "):
        Answers(**{**told, **wrong})


JOURNAL = [{"item": f"q:{n}", "sample": 0, "answer": "né " * n} for n in range(5)]


@settings(max_examples=40)
@given(st.integers(0, 600))
def test_a_journal_cut_anywhere_forgets_one_line_at_most(
    tmp_path_factory: pytest.TempPathFactory, at: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "said.jsonl"
    with Journal(path) as journal:
        for row in JOURNAL:
            journal.write(row)
    data = path.read_bytes()
    path.write_bytes(data[:at])
    whole = data[:at].count(b"\n")
    with Journal(path) as journal:
        assert list(journal.rows.values()) == JOURNAL[:whole]
        for row in JOURNAL[whole:]:
            journal.write(row)
    assert path.read_bytes() == data
