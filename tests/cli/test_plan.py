"""`plan` and `show cases` as a user calls them: on a yard, in two languages, as JSON, as a page, wrongly."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from tests.line.command import Command
from tests.plan.projects import inputs, measured, plan, sold

from modelyard import machine
from modelyard.cli import messages, voice
from modelyard.cli.plan import PARTS
from modelyard.cli.plan_page import page
from modelyard.cli.plan_parts import PARTS as MADE
from modelyard.cli.plan_parts import assumed, overview
from modelyard.plan.lessons import RULES
from modelyard.plan.outlook import BUILT_IN
from modelyard.plan.routes import RISKS
from modelyard.plan.standing import standing
from modelyard.plan.whole import Whole, whole
from modelyard.records.yard import Yard

YARD = Path(__file__).parent.parent / "yards" / "line"
BLOCK = yaml.safe_load(
    (Path(__file__).parent.parent.parent / "examples" / "pydesk" / "modelyard.yaml").read_text("utf-8")
)["plan"]
CHINESE = re.compile("[\u4e00-\u9fff]")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    shutil.copytree(YARD, tmp_path / "desk")
    (tmp_path / "desk" / "yard").rename(tmp_path / "desk" / ".yard")
    made = Yard(tmp_path / "desk" / ".yard").find(step="train.tune")[0].environment["machine"]
    this = replace_id(machine.this(), made["id"])
    monkeypatch.setattr(machine, "this", lambda: this)
    return Command(tmp_path / "desk", monkeypatch, capsys)


def replace_id(this: machine.Machine, id: str) -> machine.Machine:
    """This machine, taken for the one that made the yard."""
    return type("Same", (machine.Machine,), {"__slots__": (), "id": id})(
        this.cpu, this.cores, this.memory_gib, this.features, this.gpus, this.system
    )


def test_another_machines_runs_do_not_calibrate_this_one(
    desk: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert desk("plan", "--json").json["result"]["calibrated"]
    other = replace_id(machine.this(), "0" * 12)
    monkeypatch.setattr(machine, "this", lambda: other)
    result = desk("plan", "--json").json["result"]
    assert not result["calibrated"]
    assert any("another machine" in line for line in result["assumed"])
    assert result["run"] is None


def add(desk: Command, **told: object) -> None:
    file = desk.folder / "modelyard.yaml"
    file.write_text(file.read_text("utf-8") + "\n" + yaml.safe_dump({"plan": told}, default_flow_style=False))


def test_a_project_without_a_plan_is_planned_as_far_as_it_is_known(desk: Command) -> None:
    said = desk("plan", "--json")
    assert said.code == 0
    result = said.json["result"]
    assert set(result) >= {"routes", "team", "business", "position", "cases", "lessons", "outlook", "assumed"}
    assert result["calibrated"]
    assert result["business"] is None
    assert any("no block `plan`" in line for line in result["assumed"])
    assert result["routes"][0]["quality"]["source"]


def test_what_the_yard_measured_is_in_the_plan_with_its_record(desk: Command) -> None:
    result = desk("plan", "--json").json["result"]
    release = desk("status", "--json").json["result"]["release"]
    assert result["position"]["quality_source"] == f"measured: record {release}"
    tuned = next(one for one in result["routes"] if one["kind"] == "lora")
    assert tuned["quality"]["value"] is not None
    assert release in tuned["basis"]


def test_the_untuned_base_is_told_by_its_own_verdict(desk: Command) -> None:
    yard = Yard(desk.folder / ".yard")
    verdicts = [yard.one(id) for id in yard.find(step="release.choose")[0].inputs["report"]]
    base = yard.one(next(verdict.inputs["base"][0] for verdict in verdicts if "base" in verdict.inputs))
    routes = desk("plan", "--json").json["result"]["routes"]
    told = next(one for one in routes if one["kind"] == "ground")["quality"]
    assert told["value"] == base.fact("quality.task").value
    assert told["source"] == f"measured: record {base.id}"


@pytest.mark.parametrize("part", PARTS)
def test_each_part_is_shown_alone(desk: Command, part: str) -> None:
    said = desk("plan", part)
    assert said.code == 0
    assert said.out.strip()
    assert desk("plan", part, "--json").json["ok"]


def test_the_parts_of_the_verb_are_the_parts_that_are_made() -> None:
    assert tuple(MADE) == PARTS


def test_the_page_is_one_file_in_both_languages_with_its_pictures(desk: Command) -> None:
    add(
        desk,
        business={
            "cash": 1000,
            "revenue": [{"kind": "service", "hours_per_month": [5, 9, 20], "per_hour": 90}],
        },
    )
    assert desk("plan", "--html", "plan.html").code == 0
    text = (desk.folder / "plan.html").read_text("utf-8")
    assert text.count("<svg") == 8  # routes, memory, cash, what matters; twice
    assert 'lang="en"' in text
    assert "走哪条路" in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "https://" not in text
    assert not re.search(r"\bNone\b|\bnan\b", text)


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ({"currency": "EUR"}, "give usd_rate"),
        ({"currency": "XXY", "usd_rate": 1}, "no currency"),
        ({"deadline": "2020-01-01"}, "is over"),
        ({"team": [{"name": "Ana", "hours_per_week": 0}]}, "greater than 0"),
        ({"team": [{"name": "A", "hours_per_week": 9}] * 2}, "two people are called A"),
        ({"team": [{"name": "A", "hours_per_week": 9, "skills": {"singing": 3}}]}, "skills"),
        ({"money": 900, "business": {"cash": 100}}, "is more than business.cash"),
        ({"business": {"cash": 1, "other_per_month": [3, 2, 1]}}, "in this order"),
        ({"goals": [{"metric": "m", "target": 1, "date": "2030-01-01", "owner": "Zed"}],
          "team": [{"name": "A", "hours_per_week": 9}]}, "names Zed"),
        ({"load": {"requests_per_day": -1}}, "requests_per_day"),
        ({"rent": ["ZX81"]}, "no device"),
        ({"mony": 3}, "did you mean money"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_and_says_what_to_change(
    desk: Command, block: dict[str, object], says: str
) -> None:
    add(desk, **block)
    said = desk("plan", "--json")
    assert said.code == 2
    assert says in said.json["error"]["what"] + said.json["error"]["try"]


def test_prices_in_another_currency_are_refused(desk: Command) -> None:
    file = desk.folder / "modelyard.yaml"
    told = yaml.safe_load(file.read_text("utf-8"))
    told["prices"] = {
        "currency": "EUR",
        "plans": {"starter": {"per_million_input": "0.3", "per_million_output": "1"}},
    }
    told["plan"] = {"currency": "USD"}
    file.write_text(yaml.safe_dump(told))
    assert "use one currency" in desk("plan", "--json").json["error"]["what"]


def test_machines_for_a_load_are_told_with_their_range(desk: Command) -> None:
    told = ("plan", "--model", "7B", "--on", "H100", "--serve", "5", "--p95-s", "8")
    result = desk(*told, "--json").json["result"]
    machines = [result["reached"][end]["machines"] for end in ("low", "middle", "high")]
    assert machines == sorted(machines, reverse=True)
    assert result["cache_gib_per_request"] > 0.1
    assert "95 of 100" in desk(*told).out
    assert desk("plan", "--model", "700B", "--on", "T4", "--serve", "5").code == 1
    assert desk("plan", "--serve", "5").code == 2


def test_a_load_that_no_number_of_machines_carries_says_why(desk: Command) -> None:
    late = ("plan", "--model", "7B", "--on", "H100", "--serve", "5", "--p95-s", "1")
    result = desk(*late, "--json").json["result"]
    assert [result["reached"][end]["machines"] for end in ("low", "middle", "high")] == [None] * 3
    assert len([why for why in result["why"] if "answers alone take" in why]) == 3
    assert "单独作答时" in desk(*late, "--lang", "zh").out
    many = ("plan", "--model", "7B", "--on", "Trainium3", "--serve", "10000000", "--p95-s", "60")
    why = desk(*many, "--json").json["result"]["why"]
    assert "no price in the catalogue, so no cost" in why
    assert any("machines are too few" in one for one in why)


def test_an_amount_without_its_letter_is_named(desk: Command) -> None:
    told = desk("plan", "--model", "7B", "--tokens", "300", "--on", "H100:8", "--json").json["error"]
    assert told["what"] == "300 tokens fill no sequence of 2048"
    assert told["try"] == "300B, where billions are meant"


def test_a_run_on_this_machine_leads_back_to_a_record(desk: Command) -> None:
    result = desk("plan", "--model", "135M", "--tokens", "1M", "--on", "here", "--json").json["result"]
    assert result["basis"].startswith("measured: record")
    assert result["hours"]["low"] < result["hours"]["value"] < result["hours"]["high"]
    assert desk("plan", "--model", "700B", "--tokens", "1M", "--on", "here").code == 1


def test_a_mixture_of_experts_takes_the_operations_of_its_active_part(desk: Command) -> None:
    told = ("plan", "--model", "47B", "--tokens", "10B", "--on", "H100:64", "--json")
    dense = desk(*told).json["result"]["flop"]
    mixture = desk(*told, "--active", "13B").json["result"]["flop"]
    assert mixture == pytest.approx(dense * 13 / 47, rel=0.15)
    assert desk(*told, "--active", "50B").code == 2
    taught = desk(*told, "--teacher", "7B").json["result"]["flop"]
    assert taught == pytest.approx(dense + 2 * 7e9 * 10e9, rel=0.01)


def test_published_cases_are_shown_as_time_lines_with_gaps(desk: Command) -> None:
    assert "OpenAI" in desk("show", "cases").out
    line = desk("show", "cases", "zhipu")
    assert "24 months without a number" in line.out
    assert all(one["source"] for one in desk("show", "cases", "zhipu", "--json").json["result"]["numbers"])
    runs = desk("show", "cases", "StarCoder", "--json").json["result"]["runs"]
    assert runs[0]["error_factor"] >= 1
    assert desk("show", "cases", "Initech").code == 2


@pytest.mark.timeout(900)  # 40 s alone, and several times that on cores that others want
def test_half_a_minute_of_training_calibrates_and_leaves_the_model_alone(desk: Command) -> None:
    assert desk("plan", "--calibrate", "--json").json["error"]["try"] == "modelyard up --to train.base"
    assert desk("up", "--to", "train.base").code == 0
    before = desk("show", "model", "--json").json["result"]["record"]
    release = desk("status", "--json").json["result"]["release"]
    tokens = standing(Yard(desk.folder / ".yard")).value("train.tokens")
    said = desk("plan", "run", "--calibrate", "--json")
    assert said.code == 0
    assert "calibrated" in said.err
    basis = said.json["result"]["basis"]
    assert basis.startswith("measured: record")
    assert before not in basis
    run = Yard(desk.folder / ".yard").one(basis.rsplit()[-1])
    assert "model.safetensors" in run.files  # merged as in any run, for that takes its time too
    assert desk("show", "model", "--json").json["result"]["record"] == before
    assert standing(Yard(desk.folder / ".yard")).value("train.tokens") == tokens
    assert desk("status", "--json").json["result"]["release"] == release
    assert desk("plan", "--json").json["result"]["position"]["quality_source"].endswith(release)


def test_a_yard_that_trained_nothing_says_so(desk: Command) -> None:
    shutil.rmtree(desk.folder / ".yard")
    assert "nothing has been trained" in desk("plan", "run").out
    assert desk("plan", "--calibrate", "--json").code == 2
    assert desk("plan", "--json").json["result"]["calibrated"] is False


def test_before_a_run_the_files_of_the_sources_are_counted(desk: Command) -> None:
    shutil.rmtree(desk.folder / ".yard")
    file = desk.folder / "modelyard.yaml"
    told = yaml.safe_load(file.read_text())
    rows = {"question": "a", "answer": "b"}
    (desk.folder / "rows.jsonl").write_text(f"{json.dumps(rows)}\n" * 1000)
    right = {"licence": "CC0-1.0", "owner": "us", "basis": "own"}
    told["data"]["sources"] = [{"path": "rows.jsonl", **right}]
    file.write_text(yaml.safe_dump(told))
    result = desk("plan", "--json").json["result"]
    assert result["routes"][0]["kind"] != "wait"
    assert any("counted in the files" in line for line in result["assumed"])
    told["data"]["sources"].append({"path": "to come", "made_by": "make them", **right})
    file.write_text(yaml.safe_dump(told))
    result = desk("plan", "--json").json["result"]
    assert "to come is not there yet: `make them` makes it" in result["assumed"]
    unfit = {one["kind"]: one["unfit"] for one in result["routes"]}
    assert "not there yet: to come" in unfit["lora"]
    told["plan"] = {"has": {"documents": 10, "pairs": 1000}}
    file.write_text(yaml.safe_dump(told))
    result = desk("plan", "--json").json["result"]
    assert not any("not there yet" in line for line in result["assumed"])


def test_prices_in_another_currency_without_a_plan_are_left_out_and_said(desk: Command) -> None:
    file = desk.folder / "modelyard.yaml"
    told = yaml.safe_load(file.read_text("utf-8"))
    plans = {"starter": {"per_million_input": "0.3", "per_million_output": "1"}}
    file.write_text(yaml.safe_dump(told | {"prices": {"currency": "EUR", "plans": plans}}))
    result = desk("plan", "--json").json["result"]
    assert any("prices are in EUR" in line for line in result["assumed"])
    assert not result["position"]["against"]


def plans() -> list[Whole]:
    """Plans that between them say nearly all that a plan can say."""
    return [
        whole(inputs()),
        whole(inputs(plan(**BLOCK), standing=measured(), sold=sold())),
        whole(inputs(plan(business=None, load=None, team=[], money=None, has=None), offers={})),
        whole(inputs(plan(money=10, deadline="2026-12-24", private=True, stage="scale", own=["RTX 4090"]))),
        whole(inputs(plan(load={"requests_per_day": 1e7, "p95_s": 0.001}, stage="repeatable"))),
        whole(inputs(plan(has=None), lacking=("docs", "rows.jsonl"))),
        whole(inputs(plan(currency="CNY", usd_rate=7.1), standing=measured(**{"gain.task": -0.1}))),
    ]


def test_everything_that_a_plan_says_is_there_in_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, numbers and what the user wrote stay; no sentence of ours is left in English."""
    voice.choose("zh")
    try:
        texts = [f"{overview(one)}\n{assumed(one)}" for one in plans()]
    finally:
        voice.choose("en")
    english = set()
    for line in (line for text in texts for line in text.splitlines()):
        for run in re.findall(r"[a-z]{2,}(?: [a-z]{2,})+", line):
            if run not in NAMES:
                english.add(run)
    assert not english
    assert all(CHINESE.search(text) for text in texts)


# What users and publishers called their own things.
NAMES = {
    *("ather no answer than", "wrong one", "customers by the end of", "ten customers by the end of"),
    *("nanogpt latest", "ordan et al", "nanotron llama", "modelyard show cases", "modelyard up"),
}


@pytest.mark.parametrize(
    "text",
    [
        *RISKS.values(),
        *(rule[0] for rule in RULES),
        *(rule[2] for rule in RULES),
        *BUILT_IN,
        *(sign for one in BUILT_IN.values() for sign in one.signs),
    ],
)
def test_each_sentence_of_a_table_is_in_the_catalogue(text: str) -> None:
    assert CHINESE.search(messages.localise(text, messages.PLAN))


def test_the_catalogue_of_plans_fills_what_its_sentences_have() -> None:
    told = json.loads((Path(messages.__file__).parent / messages.PLAN).read_text("utf-8"))
    for english, chinese in told.items():
        assert sorted({int(at) for at in re.findall(r"\{(\d+)\}", chinese)}) == list(
            range(english.count("{}"))
        )


def test_the_page_shows_the_chosen_language_first() -> None:
    found = whole(inputs())
    assert 'id="en" checked' in page(found, "x")
    voice.choose("zh")
    try:
        assert 'id="zh" checked' in page(found, "x")
        assert voice.chosen() == "zh"
    finally:
        voice.choose("en")


def test_a_project_with_mistakes_is_told_and_not_passed_over(desk: Command) -> None:
    add(desk, deadline="never")
    assert desk("plan", "--model", "135M", "--tokens", "1M", "--on", "here").code == 2
