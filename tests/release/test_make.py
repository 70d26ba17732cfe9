"""release.choose: the folder that is served, or a refusal."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from tests.release.stage import (
    PRICE,
    facts,
    race_record,
    record,
    share,
    unmeasured,
    verdict,
    verdict_record,
    workspace,
)

from modelyard.errors import RecordError, Refused
from modelyard.records.shapes import Fact, Inputs, Output
from modelyard.release import make
from modelyard.release.choose import Verdict
from modelyard.release.settings import ChooseSettings

CANDIDATE_FILES = (
    "model.gguf",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "config.json",
)


class Stage:
    """The inputs of the step."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.fulls: list[Verdict] = [
            verdict("full4", found=facts(cost=0.01)),
            verdict("full8", candidate="c8", kind="Q8_0", found=facts(cost=0.02)),
        ]
        self.reports: list[Verdict] = [
            verdict(
                "report4",
                fidelity="report",
                split="report",
                found=facts(task=0.85) | {"gain.task": share(0.4)},
            ),
            verdict(
                "base", candidate="b16", kind="F16", fidelity="report", split="report", found=facts(task=0.5)
            ),
        ]
        self.grounded = True
        self.gates: dict[str, Any] = {"quality.task": {"min": 0.6}}
        self.base = {
            "name": "org/tiny",
            "licence": "Apache-2.0",
            "source": "x",
            "notes": ["F16 was 4-bit | once"],
        }
        self.race: dict[str, Fact] = {}
        self.earlier = 0
        self.runs = 0

    def run(self) -> tuple[Output, Path]:
        """The step's output and its folder."""
        self.runs += 1
        place = self.place / str(self.runs)
        candidates = []
        for name in ("c4", "c8"):
            folder = place / name
            folder.mkdir(parents=True)
            for file in CANDIDATE_FILES:
                (folder / file).write_text(f"{name} {file}")
            (folder / "base.json").write_text(json.dumps(self.base))
            candidates.append(record(name, folder))
        corpus, index = place / "corpus", place / "index"
        corpus.mkdir()
        index.mkdir()
        source = {"path": "build/docs", "licence": "PSF-2.0", "owner": "PSF", "basis": "licence"}
        (corpus / "sources.json").write_text(json.dumps({"sources": [source]}))
        (index / "passages.db").write_bytes(b"passages")
        about = {
            "limit": 0.31,
            "passages": 7,
            "languages": {"en": 3, "zh": 1},
            "calibration": {"limit": 0.31},
        }
        (index / "index.json").write_text(json.dumps(about))
        inputs = {
            "verdicts": tuple(verdict_record(v, place / "v" / v.id) for v in self.fulls),
            "report": tuple(verdict_record(v, place / "r" / v.id) for v in self.reports),
            "candidates": tuple(candidates),
            "corpus": (record("corpus", corpus),),
        }
        if self.race:
            inputs["race"] = (race_record(self.race, place / "race"),)
        if self.grounded:
            inputs["index"] = (record("index", index),)
        settings = ChooseSettings.model_validate(
            {
                "project": "desk",
                "gates": self.gates,
                "task": {"kind": "extract"},
                "ground": {"passages": 1},
                "usd_per_hour": PRICE,
                "earlier_looks": self.earlier,
            }
        )
        space = workspace(place / "space")
        return make.run(settings, Inputs(inputs), space), space.out


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Two fulls that hold, and a report."""
    return Stage(tmp_path)


def test_a_release_holds_the_winner_its_index_and_the_facts_of_the_report(stage: Stage) -> None:
    output, out = stage.run()
    assert output.facts["quality.task"].value == 0.85
    assert output.facts["cost.usd_per_1k_answers"].value == 0.01
    told = json.loads((out / "release.json").read_text())
    assert told["project"] == "desk"
    assert told["engine"] == "openvino"
    assert told["recipe"]["type"] == "Q4_0"
    assert told["score_limit"] == 0.31
    assert told["answer_tokens_p99"] == 12
    assert told["winner"]["verdict"] == "full4"
    assert told["winner"]["report"] == "report4"
    assert all(gate["passed"] for gate in told["gates"])
    assert {"parity.identity", "parity.fault", "parity.kl", "quality.task"} == {
        g["gate"] for g in told["gates"]
    }
    assert (out / "model.gguf").read_text() == "c4 model.gguf"
    assert (out / "passages.db").read_bytes() == b"passages"
    assert output.choices[0].name == "winner"


def test_sha256sum_accepts_every_file_and_finds_a_changed_one(stage: Stage) -> None:
    _, out = stage.run()
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    told = subprocess.run(check, cwd=out, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    listed = {line.partition("  ")[2] for line in (out / "SHA256SUMS").read_text().splitlines()}
    assert listed == {p.name for p in out.iterdir()} - {"SHA256SUMS"}
    (out / "index.json").unlink()
    (out / "index.json").write_text("{}")
    assert subprocess.run(check, cwd=out, capture_output=True, check=False).returncode == 1


def test_the_same_inputs_give_the_same_bytes(stage: Stage) -> None:
    _, first = stage.run()
    _, second = stage.run()
    assert (first / "SHA256SUMS").read_bytes() == (second / "SHA256SUMS").read_bytes()


def refused(stage: Stage) -> str:
    """What the refusal says."""
    with pytest.raises(Refused) as error:
        stage.run()
    return error.value.what


def test_no_candidate_that_holds_is_a_refusal_with_gate_value_and_limit(stage: Stage) -> None:
    stage.gates = {"quality.task": {"min": 0.95}, "quality.grounded": {"min": 0.1}}
    lines = refused(stage).splitlines()
    assert "none of 2 candidates" in lines[0]
    row = next(line for line in lines if line.startswith("gguf Q8_0") and "quality.task" in line)
    assert "0.9" in row
    assert "min 0.95" in row
    assert any("quality.grounded" in line and "unmeasured" in line for line in lines)


def test_a_winner_that_fails_on_report_is_refused_and_no_second_is_tried(stage: Stage) -> None:
    stage.reports[0] = verdict("report4", fidelity="report", split="report", found=facts(task=0.61))
    stage.reports.append(
        verdict(
            "report8", candidate="c8", kind="Q8_0", fidelity="report", split="report", found=facts(task=0.99)
        )
    )
    assert "fails on report" in refused(stage)


def test_quality_that_the_report_did_not_measure_is_not_taken_from_the_search(stage: Stage) -> None:
    found = facts() | {"quality.task": unmeasured()}
    stage.reports[0] = verdict("report4", fidelity="report", split="report", found=found)
    assert "unmeasured" in refused(stage)


def test_speed_that_the_report_did_not_measure_is_taken_from_the_full(stage: Stage) -> None:
    found = facts(task=0.85) | {"cost.usd_per_1k_answers": unmeasured("USD/1k answers")}
    stage.reports[0] = verdict("report4", fidelity="report", split="report", found=found)
    assert stage.run()[0].facts["cost.usd_per_1k_answers"].value == 0.01


def test_a_winner_without_a_report_is_an_error_of_the_graph(stage: Stage) -> None:
    del stage.reports[0]
    with pytest.raises(RecordError, match="not scored on report"):
        stage.run()


def card(stage: Stage) -> Any:
    """The card as huggingface_hub reads it."""
    from huggingface_hub import ModelCard

    return ModelCard.load(stage.run()[1] / "README.md")


def lines(text: str) -> Sequence[str]:
    """The lines of a card that are not empty."""
    return [line for line in text.splitlines() if line.strip()]


def test_the_card_is_read_by_the_hub_with_its_results(stage: Stage) -> None:
    found = card(stage)
    assert found.data.license == "apache-2.0"
    assert found.data.base_model == "org/tiny"
    assert found.data.language == ["en", "zh"]
    (result,) = [r for r in found.data.eval_results if r.metric_type == "quality.task"]
    assert result.metric_value == 0.85
    text = lines(found.text)
    assert text[0] == "# desk"
    assert "0.85 (0.82 to 0.88)" in text[1]
    for piece in (
        "| build/docs | PSF-2.0 | PSF | licence |",
        "F16 was 4-bit | once",
        "full",
        "below 0.31",
        "**released**",
    ):
        assert piece in found.text, piece
    assert "| `quality.task` | 0.85 | min 0.6 | yes |" in found.text


def test_documents_only_are_released_with_unmeasured_quality_on_the_first_line_of_the_card(
    stage: Stage,
) -> None:
    stage.gates = {}
    stage.reports = []
    stage.fulls = [verdict(has_pairs=False, found=facts(task=None))]
    found = card(stage)
    assert lines(found.text)[1] == "**The quality of its answers is unmeasured: nobody looked.**"
    assert found.data.eval_results is None
    assert "- `quality.task` is unmeasured: nobody looked." in found.text


def test_a_licence_that_the_hub_does_not_know_is_named(stage: Stage) -> None:
    stage.base["licence"] = "LicenseRef-Own"
    found = card(stage)
    assert found.data.license == "other"
    assert found.data.license_name == "LicenseRef-Own"


def test_without_an_index_nothing_of_retrieval_is_released(stage: Stage) -> None:
    stage.grounded = False
    _, out = stage.run()
    assert not (out / "passages.db").exists()
    told = json.loads((out / "release.json").read_text())
    assert told["ground"] is None
    assert told["score_limit"] is None


def test_the_cost_is_that_of_the_race_at_the_price_of_the_machine(stage: Stage) -> None:
    seconds = Fact(7.0, "s/1k answers", n=3, low=6.0, high=8.0, level=0.95, why="8 callers, 3 turns")
    stage.race = {"c4": Fact(900.0, "s/1k answers", n=3), "c8": seconds}
    unraced = facts() | {"speed.s_per_1k_answers": unmeasured("s/1k answers")}
    stage.reports[0] = verdict(
        "report8", candidate="c8", kind="Q8_0", fidelity="report", split="report", found=unraced
    )
    output, out = stage.run()
    fact = output.facts["cost.usd_per_1k_answers"]
    assert json.loads((out / "release.json").read_text())["recipe"]["type"] == "Q8_0"
    assert (fact.value, fact.low, fact.high) == pytest.approx((0.007, 0.006, 0.008))
    assert output.facts["cost.usd_per_mtok"].value == pytest.approx(0.007 / 1000 / 280 * 1e6)
    assert fact.why == "8 callers, 3 turns, 3.6 USD/hour"


def test_a_contender_that_failed_in_the_race_is_not_released(stage: Stage) -> None:
    stage.race = {
        "c4": Fact(None, "s/1k answers", why="the engine failed: it fell"),
        "c8": Fact(70.0, "s/1k answers"),
    }
    stage.reports[0] = verdict("report8", candidate="c8", kind="Q8_0", fidelity="report", split="report")
    _, out = stage.run()
    assert json.loads((out / "release.json").read_text())["recipe"]["type"] == "Q8_0"


def test_a_refusal_on_report_tells_the_audit_log_who_failed_on_which_pairs(stage: Stage) -> None:
    stage.reports[0] = verdict("report4", fidelity="report", split="report", found=facts(task=0.5))
    with pytest.raises(Refused, match="fails on report") as error:
        stage.run()
    assert error.value.audited == {
        "pairs": "5" * 64,
        "model": "m",
        "file": "c4",
        "engine": "openvino",
        "failed": ["quality.task"],
    }


def test_a_refusal_on_select_has_looked_at_nothing(stage: Stage) -> None:
    stage.gates = {"quality.task": {"min": 0.99}}
    with pytest.raises(Refused) as error:
        stage.run()
    assert error.value.audited is None


def test_the_card_owns_up_to_earlier_looks_at_the_report(stage: Stage) -> None:
    assert "looked at once" in (stage.run()[1] / "README.md").read_text()
    stage.earlier = 2
    text = (stage.run()[1] / "README.md").read_text()
    assert "looked at once" not in text
    assert "2 other candidates had been scored on before" in text


def test_the_picture_has_every_candidate_its_outcome_and_the_gate(stage: Stage) -> None:
    _, out = stage.run()
    drawn = (out / "search.svg").read_text("utf-8")
    tree = ElementTree.fromstring(drawn)
    said = [node.text or "" for node in tree.iter() if node.tag.endswith("text")]
    told = json.loads((out / "release.json").read_text("utf-8"))
    for at, candidate in enumerate(told["candidates"], 1):
        assert any(line.startswith(f"{at}  {candidate['label']}: ") for line in said)
    assert any(line.startswith("gate ") for line in said)
    assert "released" in next(line for line in said if line.startswith("1  "))


def test_a_refusal_has_its_picture_too(stage: Stage) -> None:
    stage.gates = {"quality.task": {"min": 0.99}}
    with pytest.raises(Refused) as caught:
        stage.run()
    assert "gate 99.0%" in caught.value.picture
    assert 'class="bad"' in caught.value.picture
