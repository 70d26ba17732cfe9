"""What a run is asked that it does not learn, and what is seen of it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.train.stage import TRAIN, inputs, pair, write_corpus
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from modelyard import general, intervals
from modelyard.errors import RecordError, SourceError
from modelyard.prompt import Prompter
from modelyard.records.shapes import Fact, Output, Workspace
from modelyard.train import held, loop, picture, tune, work
from modelyard.train.samples import Sample
from modelyard.train.settings import TuneSettings

SELECT = [pair(number) | {"group": f"g{number // 2}"} for number in range(100, 130)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_corpus(tmp_path_factory.mktemp("corpus"))
    (folder / "pairs.select.jsonl").write_text("".join(json.dumps(one) + "\n" for one in SELECT))
    return folder


def settings(**changed: Any) -> TuneSettings:
    return TuneSettings.model_validate({"train": TRAIN | changed})


@pytest.fixture(scope="module")
def tuned(
    base: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Output, list[dict[str, Any]]]:
    folder, told = tmp_path_factory.mktemp("tuned"), list[dict[str, Any]]()
    for name in ("out", "state"):
        (folder / name).mkdir()

    def report(text: str, **numbers: Any) -> None:
        told.append({"text": text, **numbers})

    output = tune.run(settings(learning_rate=2e-2), inputs(corpus, base), Workspace(folder, 1, report))
    return folder / "out", output, told


def choose(base: Path, corpus: Path, **options: Any) -> list[held.Text]:
    return held.choose(corpus, Prompter(base), **({"seed": 1, "longest": 512, "tokens": 0} | options))


def test_the_losses_are_those_of_transformers_before_and_of_the_merged_model_after(
    tuned: tuple[Path, Output, Any], base: Path, corpus: Path
) -> None:
    out, output, _ = tuned
    told = held.read(json.loads((out / held.NAME).read_text()))
    texts = {text.id: text for text in choose(base, corpus, seed=0, longest=256, tokens=6000)}
    assert {one.kind for one in told} == {"select", "general"}
    for folder, which in ((base, "before"), (out, "after")):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        for one in told:
            sample = texts[one.id].sample
            with torch.no_grad():
                log_p = torch.log_softmax(model(torch.tensor([sample.ids])).logits[0], -1)
            places = [at for at, learn in enumerate(sample.learn) if learn]
            theirs = -sum(float(log_p[at - 1, sample.ids[at]]) for at in places)
            assert getattr(one, which) == pytest.approx(theirs, rel=2e-3, abs=2e-3)
            assert one.labels == len(places)
    select = [one for one in told if one.kind == "select"]
    labels = sum(one.labels for one in select)
    assert output.facts["train.loss_select"].value == pytest.approx(sum(one.after for one in select) / labels)


def test_tuning_gains_on_select_and_forgets_of_the_rest_each_with_an_interval(
    tuned: tuple[Path, Output, Any],
) -> None:
    facts = tuned[1].facts
    assert facts["gain.loss"].low is not None
    assert facts["gain.loss"].low > 0
    rise = facts["forget.loss_rise"]
    assert rise.value == pytest.approx(facts["forget.loss"].value - facts["forget.loss_before"].value)
    assert rise.low < rise.value < rise.high
    assert facts["train.loss_select"].low >= 0
    assert facts["train.loss_select"].n == len({one["group"] for one in _asked(tuned, "select")})


def _asked(tuned: tuple[Path, Output, Any], kind: str) -> list[dict[str, Any]]:
    return [one for one in json.loads((tuned[0] / held.NAME).read_text()) if one["kind"] == kind]


def test_a_longer_run_asks_the_same_texts_and_more_at_two_hundredths_of_its_tokens(
    base: Path, corpus: Path
) -> None:
    few, many = (choose(base, corpus, tokens=tokens) for tokens in (1_000, 300_000))
    for kind, fewest in (("select", 8), ("general", 8)):
        first, second = ([one.id for one in texts if one.kind == kind] for texts in (few, many))
        assert len(first) == fewest
        assert second[: len(first)] == first
        assert len(second) > len(first)
    assert sum(len(text.sample) for text in many) <= 0.02 * 300_000
    assert len([one for one in choose(base, corpus, most=3) if one.kind == "select"]) == 3
    groups = [one.group for one in many if one.kind == "select"][:15]
    assert len(set(groups)) == 15  # each group once before one comes twice
    other = [one.id for one in choose(base, corpus, seed=2)][:8]
    assert other != [one.id for one in few][:8]


def test_a_pair_that_does_not_fit_is_not_asked_and_without_any_the_fact_says_why(
    base: Path, tmp_path: Path
) -> None:
    long = pair(1) | {"passage": "word " * 400}
    (tmp_path / "pairs.select.jsonl").write_text(json.dumps(long) + "\n")
    texts = choose(base, tmp_path, longest=256)
    assert {text.kind for text in texts} == {"general"}
    facts = held.facts(held.paired(texts, [1.0] * len(texts), [2.0] * len(texts)))
    assert facts["train.loss_select"].value is None
    assert "fits" in facts["train.loss_select"].why
    assert facts["forget.loss"].value is not None


def test_a_searchs_run_that_nothing_could_compare_ends_before_its_first_step(
    base: Path, tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_corpus(tmp_path)
    long = pair(1) | {"passage": "word " * 400}
    (folder / "pairs.select.jsonl").write_text(json.dumps(long) + "\n")
    monkeypatch.setattr(loop, "train", lambda run: pytest.fail("it was trained"))
    asked = settings().model_copy(update={"trial": True})
    with pytest.raises(SourceError, match="none has 256 tokens or less"):
        tune.run(asked, inputs(folder, base), workspace)


def test_what_was_measured_before_the_first_step_survives_a_kill(
    base: Path, corpus: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = settings(budget={"tokens": 1000})
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train", lambda run: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tune.run(asked, inputs(corpus, base), workspace)
    kept = json.loads((workspace.state / held.NAME).read_text())
    (workspace.state / held.NAME).write_text(json.dumps([one + 100 for one in kept]))
    output = tune.run(asked, inputs(corpus, base), workspace)
    texts = json.loads((workspace.out / held.NAME).read_text())
    assert [one["before"] for one in texts] == [one + 100 for one in kept]
    assert output.facts["gain.loss"].value > 1
    (workspace.state / held.NAME).write_text("no json")
    with pytest.raises(RecordError, match="cannot be read"):
        held.before(workspace.state, list)


def test_the_general_texts_are_forty_in_two_languages_and_none_stands_twice() -> None:
    text = general.PATH.read_text("utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert len(rows) == len({row["text"] for row in rows}) == len({row["id"] for row in rows}) == 40
    assert {row["language"] for row in rows[:3]} == {"en", "zh"}


def test_a_ratios_interval_covers_the_truth_where_texts_of_a_group_are_alike() -> None:
    drawn, covered, rounds = random.Random(0), 0, 300
    for _ in range(rounds):
        sums, counts, groups = [], [], []
        for group in range(12):
            level = drawn.gauss(2.0, 0.5)
            for _ in range(drawn.randint(1, 8)):
                labels = drawn.randint(1, 20)
                sums.append(labels * level + drawn.gauss(0, 1))
                counts.append(labels)
                groups.append(str(group))
        found = intervals.ratio(sums, counts, groups)
        covered += found.low <= 2.0 <= found.high
    assert 0.90 * rounds <= covered <= 0.99 * rounds


def test_a_ratio_of_one_item_has_no_interval() -> None:
    with pytest.raises(ValueError, match="two items"):
        intervals.ratio([1.0], [1.0], ["a"])
    assert intervals.ratio([1.0, 3.0], [1.0, 1.0], ["a", "a"]).low < 1  # of one group, items stand alone


def test_the_operations_of_a_token_are_those_that_torch_counts(base: Path) -> None:
    length, config = 40, json.loads((base / "config.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
    ids = torch.randint(3, 300, (1, length), generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter:
        model(ids, labels=ids).loss.backward()
    items = [(Sample(tuple(ids[0].tolist()), (True,) * length),)]
    whole = work.flop_per_token(config, items, whole=True)
    # Eager attention multiplies what the mask then hides: as much again.
    hidden = 6 * config["num_hidden_layers"] * config["hidden_size"] * length
    assert whole is not None
    assert (whole + hidden) * length == pytest.approx(counter.get_total_flops(), rel=0.01)
    adapters = work.flop_per_token(config, items, whole=False)
    assert adapters is not None
    assert 0.6 < adapters / whole < 0.75
    assert work.flop_per_token({"n_embd": 4}, items, whole=False) is None


def test_the_roof_is_measured_and_the_threads_stay(tuned: tuple[Path, Output, Any]) -> None:
    before = torch.get_num_threads()
    assert work.roof("fp32", 2) > 1e8
    assert torch.get_num_threads() == before
    share = tuned[1].facts["train.roof_share"].value
    assert share is not None
    assert 0 < share < 1


def test_progress_tells_loss_speed_roof_memory_and_time_left(tuned: tuple[Path, Output, Any]) -> None:
    last = [line for line in tuned[2] if line["text"] == "tuning"][-1]
    assert set(last) == {"text", "done", "total", "loss", "tps", "left_s", "roof", "memory_gib"}
    assert last["roof"] == pytest.approx(tuned[1].facts["train.roof_share"].value)
    assert 0.05 < last["memory_gib"] < 64


def test_a_roof_that_cannot_be_known_is_told_as_unmeasured(
    base: Path, corpus: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "flop_per_token", lambda *_, **__: None)
    output = tune.run(settings(budget={"tokens": 500}), inputs(corpus, base), workspace)
    assert output.facts["train.roof_share"].value is None
    assert "operations" in output.facts["train.roof_share"].why


SVG = "{http://www.w3.org/2000/svg}"


def drawn(**changed: Any) -> ElementTree.Element:
    told: dict[str, Any] = {
        "title": "Loss",
        "unit": "nats/token",
        "tokens": [100 * step for step in range(1, 201)],
        "losses": [2 / (1 + step / 40) for step in range(200)],
    }
    return ElementTree.fromstring(picture.draw(picture.Curve(**(told | changed))))


def of(root: ElementTree.Element, kind: str, tag: str) -> list[ElementTree.Element]:
    return [one for one in root.iter(f"{SVG}{tag}") if one.get("class") == kind]


def test_the_picture_of_a_run_lies_beside_its_losses(tuned: tuple[Path, Output, Any]) -> None:
    root = ElementTree.parse(tuned[0] / "loss.svg").getroot()
    assert root.get("viewBox") == "0 0 800 400"
    assert len(of(root, "held", "circle")) == 3  # before, after and in the legend
    curve = json.loads((tuned[0] / "loss.json").read_text())
    (line,) = of(root, "raw", "polyline")
    assert len(line.get("points", "").split()) == len(curve["step"])
    assert "prefers-color-scheme" in next(root.iter(f"{SVG}style")).text


def test_a_step_left_out_is_marked_where_it_was_and_a_title_is_quoted() -> None:
    plain, cut = drawn(), drawn(skipped=[10_000], title='a <b> & "c"')
    assert not of(plain, "bad", "line")
    (mark,) = of(cut, "bad", "line")
    assert float(mark.get("x1", 0)) == pytest.approx(64 + (800 - 64 - 24) / 2)
    assert of(cut, "title", "text")[0].text == cut.get("aria-label") == 'a <b> & "c"'


def test_one_leap_does_not_bend_the_picture() -> None:
    calm = [2 / (1 + step / 40) for step in range(200)]
    leapt = [*calm[:50], 1e6, *calm[51:]]
    before, after = ([e.text for e in of(drawn(losses=one), "end", "text")] for one in (calm, leapt))
    assert before == after  # the same numbers on the axis
    (one,), (other,) = (of(drawn(losses=each), "smooth", "polyline") for each in (calm, leapt))
    apart = [abs(a - b) for a, b in zip(heights(one), heights(other), strict=True)]
    assert max(apart) < 5


def heights(line: ElementTree.Element) -> list[float]:
    return [float(point.partition(",")[2]) for point in line.get("points", "").split()]


@given(st.floats(0, 1e6), st.floats(1e-6, 1e6))
def test_an_axis_has_few_round_numbers_and_holds_everything(low: float, span: float) -> None:
    found = picture.ticks(low, low + span)
    assert found[0] <= low + 1e-6 * span
    assert found[-1] >= low + span * (1 - 1e-6) or len(found) == 2
    assert 2 <= len(found) <= 9
    steps = np.diff(found)
    assert steps == pytest.approx(steps[0], rel=1e-3)


@given(st.lists(st.floats(0.01, 20), min_size=1, max_size=300))
def test_any_run_can_be_drawn(losses: list[float]) -> None:
    root = drawn(
        losses=losses,
        tokens=[7 * (step + 1) for step in range(len(losses))],
        before=Fact(3.0, "nats/token", low=-9.0, high=99.0, level=0.95),
        after=Fact(1.0, "nats/token"),
    )
    (line,) = of(root, "smooth", "polyline")
    assert all(64 - 0.1 <= y <= 352.1 for y in heights(line))
    ends = [one.get("d", "").partition(" ")[2].split("V") for one in of(root, "held", "path")]
    assert all(64 - 0.1 <= float(y) <= 352.1 for pair in ends for y in pair)
