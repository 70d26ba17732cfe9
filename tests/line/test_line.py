"""The line from documents to release on a tiny model, with the real engines."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import date
from functools import partial
from pathlib import Path

import pytest
from tests.line.command import Command
from tests.line.conftest import Made
from tests.line.desk import up
from tests.test_house import HEAVY

from modelyard.data.settings import PREPARE
from modelyard.engines import menu
from modelyard.errors import RecordError, Refused
from modelyard.flow import search
from modelyard.flow.measuring import FEWEST_ITEMS
from modelyard.prompt import Prompter, ask, conversation
from modelyard.records.yard import Yard
from modelyard.serve import released


@pytest.fixture
def command(desk: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(desk.folder, monkeypatch, capsys)


@pytest.fixture
def copy(desk: Made, tmp_path: Path) -> Path:
    """The project and its yard, to be changed."""
    return Path(shutil.copytree(desk.folder, tmp_path / "desk"))


def test_every_file_is_screened_on_each_engine_that_reads_it_and_few_are_measured_in_full(
    desk: Made,
) -> None:
    labels = [done.node.label for done in desk.walk.done if done.node.step.name == "verify.measure"]
    assert sum(label.endswith("screen") for label in labels) == 6
    partials = [one for one in desk.records("verify.measure") if one.settings["fidelity"] == "partial"]
    assert 2 <= len(partials) <= 4
    assert all(one.facts["loss.task"].value is not None for one in partials)
    assert 1 <= sum(label.endswith("full") for label in labels) <= 6
    assert any(label.startswith("base") and label.endswith("report") for label in labels)


def test_the_base_is_asked_the_fewest_questions_where_no_gate_hangs_on_its_gain(desk: Made) -> None:
    reports = [one for one in desk.records("verify.measure") if one.settings["fidelity"] == "report"]
    base, *others = sorted(reports, key=lambda one: one.settings["max_loss"] is not None)
    assert (base.settings["items"], base.settings["max_loss"]) == (FEWEST_ITEMS, None)
    assert others
    assert all(one.settings["max_loss"] for one in others)


def test_files_made_once_more_are_the_same_to_what_had_been_measured_of_them(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Command(copy, monkeypatch, capsys)("up", "--again", "optimize.convert").code == 0
    for name in ("FINALISTS", "FULLS"):  # so that more are measured beside those that are kept
        monkeypatch.setattr(search, name, 9)
    monkeypatch.setattr(search, "cheaper", partial(search.cheaper, fewest=9))
    walk, _ = up(copy)
    fulls = [done.state for done in walk.done if done.node.label.endswith("full")]
    assert {"kept", "ran"} == set(fulls)


def test_right_conversions_pass_identity_and_fault_parity_on_both_engines(desk: Made) -> None:
    for record in desk.records("verify.measure"):
        assert record.facts["parity.identity"].value == 0
        fault, limit = (
            record.facts["parity.fault"].value,
            record.json("verdict.json")["limits"]["parity.fault"],
        )
        assert fault is not None
        assert fault <= limit


def test_ups_second_call_does_nothing_and_loads_nothing_heavy(desk: Made) -> None:
    code = (
        "import sys, json; sys.argv = ['modelyard', 'up', '--json']\n"
        "from modelyard.cli.main import main\n"
        "main()\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    import sys

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=desk.folder
    )
    said, loaded = (json.loads(line) for line in done.stdout.splitlines())
    assert {step["state"] for step in said["result"]["steps"]} == {"kept"}
    assert said["result"]["release"] == desk.release.id
    assert not set(loaded) & HEAVY


def test_tuning_measuring_and_asking_render_the_same_tokens(desk: Made) -> None:
    """One question and its passage, as tuned on, as measured with, as `try` asks, as transformers renders."""
    from transformers import AutoTokenizer

    from modelyard.grounding import Grounded, put
    from modelyard.index.bm25 import Bm25
    from modelyard.train import samples
    from modelyard.verify.items import items, read_jsonl
    from modelyard.verify.quality import plan

    corpus, model = desk.records("data.prepare")[0], desk.records("train.tune")[0]
    rows = [row for row in read_jsonl(corpus.folder / "pairs.train.jsonl") if row["answer"] != "NOT STATED"]
    row = next(row for row in rows if "cost" in row["question"])
    trained = samples.of_pair(Prompter(model.folder), row)[0]
    prompt = Prompter(desk.release.folder).prompt(ask(row["question"], [row["passage"]]))
    assert list(trained.ids[: len(prompt)]) == prompt
    assert not any(trained.learn[: len(prompt)])
    assert all(trained.learn[len(prompt) :])
    measured = plan(Prompter(desk.release.folder), items([row]), None, 1)
    assert list(measured.own[row["id"]]) == prompt
    asked = put(Prompter(desk.release.folder), Bm25.load(desk.release.folder), row["question"])
    assert isinstance(asked, Grounded)
    assert list(asked.prompt) == prompt
    theirs = AutoTokenizer.from_pretrained(model.folder).apply_chat_template(
        conversation(row)[:-1], add_generation_prompt=True, return_dict=False
    )
    assert theirs == prompt


def test_the_tuned_model_opens_in_transformers_and_its_adapter_in_peft(desk: Made) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    tuned, base = desk.records("train.tune")[0], desk.records("train.base")[0]
    merged = AutoModelForCausalLM.from_pretrained(tuned.folder, dtype=torch.float32)
    plain = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(plain, str(tuned.folder / "adapter"))
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        assert torch.allclose(merged(ids).logits, adapted(ids).logits, atol=1e-4)


def test_a_release_is_whole_and_its_sums_hold(desk: Made) -> None:
    folder = desk.release.folder
    names = {path.name for path in folder.iterdir()}
    assert {
        "model.gguf",
        "tokenizer.json",
        "chat_template.jinja",
        "README.md",
        "release.json",
        "passages.db",
    } <= names
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=folder, check=True)


def test_the_card_names_data_licences_and_gates(desk: Made) -> None:
    card = (desk.release.folder / "README.md").read_text("utf-8")
    for word in ("CC0-1.0", "Nobody", "parity.identity", "quality.task", "latency.ttft_p95_s.c1"):
        assert word in card


def test_try_answers_in_the_agreed_form(command: Command, desk: Made) -> None:
    said = command("try", "--json", "What does the anvil cost?")
    assert said.code == 0
    assert said.json["schema"] == "modelyard/1"
    result = said.json["result"]
    assert result["release"] == desk.release.id
    assert set(result) >= {"answer", "stated", "citations", "release", "tokens"}
    assert result["tokens"]["input"] > 20
    if result["stated"]:
        assert result["citations"][0]["document"] == "anvil.md"
        assert result["citations"][0]["licence"] == "CC0-1.0"


def test_a_question_about_nothing_is_not_stated_without_the_model(command: Command) -> None:
    result = command("try", "--json", "zzzz qqqq").json["result"]
    assert result["answer"] == "NOT STATED"
    assert result["tokens"] == {"input": 0, "output": 0}
    assert result["citations"] == []


def test_status_show_why_and_audit_tell_of_what_was_made(command: Command, desk: Made) -> None:
    assert desk.release.id in command("status").out
    assert "quality.task" in command("show", "release").out
    assert "train.precision" in command("why", "model").out
    assert command("show", "verdict", "--json").json["ok"]
    audited = command("audit", "verify", "--json").json["result"]
    assert audited["entries"] >= len(desk.walk.done)


def test_a_gate_that_none_keeps_refuses_with_a_table(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = copy / "modelyard.yaml"
    project.write_text(
        project.read_text("utf-8").replace("gates: {", "gates: {quality.task: {min: 0.9}, "), "utf-8"
    )
    said = Command(copy, monkeypatch, capsys)("up", "--json")
    assert said.code == 1
    assert said.json["error"]["code"] == "refused"
    assert "quality.task" in said.json["error"]["what"]
    assert "min 0.9" in said.json["error"]["what"]
    assert said.json["result"]["release"] is None
    assert said.json["result"]["steps"][-1]["state"] == "refused"
    steps = {step["step"]: step["state"] for step in said.json["result"]["steps"]}
    assert steps["train.tune"] == "kept"


def test_a_looser_gate_releases_again_from_kept_verdicts(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = copy / "modelyard.yaml"
    project.write_text(project.read_text("utf-8").replace("{max: 60}", "{max: 61}"), "utf-8")
    said = Command(copy, monkeypatch, capsys)("release", "choose", "--json")
    assert said.code == 0
    ran = [step["step"] for step in said.json["result"]["steps"] if step["state"] == "ran"]
    assert ran == ["release.choose"]


def test_a_changed_document_makes_what_follows_and_not_the_base(copy: Path) -> None:
    (copy / "docs" / "new.md").write_text("# The funnel\n\nThe funnel costs 99 coins.\n", "utf-8")
    walk, _ = up(copy)
    states = {done.node.step.name: done.state for done in walk.done}
    assert states["train.base"] == "kept"
    assert states[PREPARE.name] == "ran"
    assert states["data.index"] == "ran"


def test_a_sweep_keeps_what_the_project_and_its_releases_need(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command(copy, monkeypatch, capsys)
    assert command("sweep", "--json").json["result"]["records"] == []
    assert command("up", "--again", "release.choose").code == 0
    assert command("sweep", "--json").json["result"]["records"] == []
    assert {step["state"] for step in command("up", "--json").json["result"]["steps"]} == {"kept"}


def test_a_damaged_model_file_is_refused_then_swept_and_made_again(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command(copy, monkeypatch, capsys)
    yard = Yard(copy / ".yard")
    release = yard.find(step="release.choose")[0]
    place = yard.store.path(release.files["model.gguf"].sha256)
    place.chmod(0o644)
    with place.open("r+b") as stream:
        stream.seek(-100, 2)
        stream.write(b"tampered")
    said = command("try", "What does the anvil cost?")
    assert said.code == 1
    assert "model.gguf was changed" in said.err
    assert command("sweep", "--damaged", "--json").json["result"]["records"]
    assert command("up").code == 0
    assert command("try", "What does the anvil cost?").code == 0


def test_a_second_up_at_the_same_time_is_told_who_works(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import os

    from modelyard.cli.place import Place
    from modelyard.flow import Stale, Walk, line
    from modelyard.records.work import hold

    (copy / "docs" / "new.md").write_text("# The funnel\n\nThe funnel costs 99 coins.\n", "utf-8")
    place = Place.at(copy)
    with pytest.raises(Stale) as stale:
        Walk(place.yard, threads=2, may_run=lambda node: False).follow(line(place.project, copy, place.yard))
    with hold(place.yard.root, stale.value.node.key, threads=1, progress=lambda line: None):
        said = Command(copy, monkeypatch, capsys)("up", "--json")
    assert said.code == 1
    assert said.json["error"]["code"] == "busy"
    assert str(os.getpid()) in said.json["error"]["what"]


def test_a_search_that_has_no_time_left_says_what_it_did_not_try(copy: Path) -> None:
    project = copy / "modelyard.yaml"
    text = project.read_text("utf-8")
    project.write_text(text.replace("search: {files", "search: {minutes: 0.001, files"), "utf-8")
    walk, release = up(copy)
    assert release.json("release.json")["left_out"] == ["gguf Q4_0"]
    labels = [done.node.label for done in walk.done if done.node.step.name == "verify.measure"]
    assert not [label for label in labels if "Q4_0" in label]
    assert {done.state for done in walk.done} == {"kept", "ran"}
    assert sum(label.endswith("full") and not label.startswith("base") for label in labels) <= 2


def test_a_gate_on_behaviour_has_those_measured_in_full_asked_and_the_release_tells(copy: Path) -> None:
    project = copy / "modelyard.yaml"
    text = project.read_text("utf-8")
    gates = "gates: {leak.override: {max: 1.0}, refusal.harmless: {max: 1.0}, "
    project.write_text(text.replace("gates: {", gates), "utf-8")
    walk, release = up(copy)
    asked = [done for done in walk.done if done.node.step.name == "verify.probe"]
    fulls = [
        done
        for done in walk.done
        if done.node.label.endswith("full") and not done.node.label.startswith("base")
    ]
    assert len(asked) == len(fulls)
    assert {tuple(done.node.settings.model_dump()["probes"]) for done in asked} == {("refusal", "injection")}
    assert release.facts["leak.override"].n == 32
    gated = {gate["gate"]: gate["passed"] for gate in release.json("release.json")["gates"]}
    assert gated["leak.override"]
    assert gated["refusal.harmless"]
    project.write_text(text.replace("gates: {", "gates: {refusal.harmful: {min: 0.99}, "), "utf-8")
    with pytest.raises(Refused, match=r"refusal\.harmful"):
        up(copy)


def test_a_missed_gate_is_excused_by_name_until_its_day(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = copy / "modelyard.yaml"
    text = project.read_text("utf-8")
    excuse = "excuse: {by: Ann Other, reason: only our own staff asks, until: %s}"
    gate = "gates: {quality.answerable: {min: 0.99, " + excuse + "}, "
    project.write_text(text.replace("gates: {", gate % "2999-12-31"), "utf-8")
    _, release = up(copy)
    told = release.json("release.json")
    (judged,) = (one for one in told["gates"] if one["gate"] == "quality.answerable")
    assert judged["passed"]
    assert "Ann Other answers for it until 2999-12-31: only our own staff asks" in judged["excused"]
    assert told["excused"]["quality.answerable"]["by"] == "Ann Other"
    assert "Ann Other" in (release.folder / "README.md").read_text("utf-8")
    yard = Yard(copy / ".yard")
    with yard.ledger.read() as connection:
        rows = connection.exec_driver_sql(
            "select body from audit where action = 'release.choose.asked'"
        ).all()
    assert any("Ann Other" in row[0] for row in rows)
    released.load(yard, release.id, context_tokens=64)
    monkeypatch.setattr(released, "today", lambda: date(3000, 1, 1))
    with pytest.raises(RecordError, match="ended on 2999-12-31"):
        released.load(yard, release.id, context_tokens=64)
    project.write_text(text.replace("gates: {", gate % "2020-01-01"), "utf-8")
    with pytest.raises(Refused, match=r"quality\.answerable"):
        up(copy)
    said = Command(copy, monkeypatch, capsys)("up")
    assert said.code == 1
    assert "the exception for quality.answerable ended on 2020-01-01: Ann Other no longer" in said.err


@pytest.mark.parametrize(
    ("gates", "says"),
    [
        (
            "parity.kl: {max: 9, excuse: {by: Ann, reason: it is too hard, until: 2999-01-01}}",
            "has no excuse",
        ),
        ("quality.task: {min: 1, excuse: {by: A, reason: it is too hard, until: 2999-01-01}}", "excuse.by"),
        ("quality.task: {min: 1, excuse: {by: Ann, reason: no, until: 2999-01-01}}", "excuse.reason"),
        ("quality.task: {min: 1, excuse: {by: Ann, reason: it is too hard, until: soon}}", "excuse.until"),
        ("quality.task: {min: 1, excuse: {by: Ann, reason: it is too hard}}", "until is missing"),
        ("quality.tusk: {min: 1}", "did you mean"),
    ],
)
def test_a_bad_excuse_is_a_mistake_with_its_place(
    command: Command,
    copy: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    gates: str,
    says: str,
) -> None:
    project = copy / "modelyard.yaml"
    text = project.read_text("utf-8")
    project.write_text(text.replace("gates: {", f"gates: {{{gates}, "), "utf-8")
    said = Command(copy, monkeypatch, capsys)("up", "--json")
    assert said.code == 2
    assert says in said.json["error"]["what"]


def test_diff_tells_what_changed_between_two_releases(
    command: Command, copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = copy / "modelyard.yaml"
    before = Yard(copy / ".yard").find(step="release.choose")[0].id
    project.write_text(project.read_text("utf-8").replace("{max: 60}", "{max: 61}"), "utf-8")
    here = Command(copy, monkeypatch, capsys)
    assert here("up").code == 0
    told = here("release", "diff", before, "--json").json["result"]
    rows = {row["what"]: (row["before"], row["after"]) for row in told["differences"]}
    assert rows["gate latency.ttft_p95_s.c1"] == ("max 60, held", "max 61, held")
    assert "gate latency.ttft_p95_s.c1" in here("release", "diff", before).out
    assert "the same" in here("release", "diff", told["to"]).out
    assert here("release", "diff", "nothing", "--json").code == 2


def test_another_version_of_an_engine_makes_its_measurements_stale_and_status_says_which(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = menu._version
    monkeypatch.setattr(menu, "_version", lambda name: "99.1" if name == "xllamacpp" else known(name))
    told = Command(copy, monkeypatch, capsys)("status", "--json").json["result"]
    stale = {step["label"]: step["why"] for step in told["steps"] if step["state"] == "stale"}
    assert stale
    assert all("on llamacpp" in label for label in stale)
    assert set(stale.values()) == {f"xllamacpp {known('xllamacpp')} -> 99.1"}
    walk, _ = up(copy)
    ran = [done.node.label for done in walk.done if done.state == "ran" and "measure" in done.node.step.name]
    assert ran
    assert any("on llamacpp" in label for label in ran)
    assert not [label for label in ran if label.endswith("on openvino, screen")]
