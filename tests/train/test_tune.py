"""The whole step train.tune on a tiny model."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tests.train.stage import TRAIN, inputs, pair, write_corpus
from transformers import AutoModelForCausalLM

from modelyard.errors import NoRoom, SourceError, TrainingError
from modelyard.prompt import Prompter, conversation
from modelyard.records.shapes import Output, Workspace
from modelyard.records.yard import Yard
from modelyard.train import checkpoint, loop, samples, tune
from modelyard.train.explicit.step import ExplicitStep
from modelyard.train.load import load_model
from modelyard.train.lora import adapt
from modelyard.train.precision import set_precision
from modelyard.train.schedule import Shape, rate
from modelyard.train.settings import Lora, TuneSettings
from modelyard.train.step import Result


def settings(**changed: Any) -> TuneSettings:
    return TuneSettings.model_validate({"train": TRAIN | changed})


@pytest.fixture(scope="module")
def tuned(base: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Output]:
    folder = tmp_path_factory.mktemp("tuned")
    (folder / "out").mkdir()
    (folder / "state").mkdir()
    output = tune.run(
        settings(learning_rate=2e-2), inputs(corpus, base), Workspace(folder, 1, lambda *_, **__: None)
    )
    return folder / "out", output


def test_tuning_lowers_the_loss_and_says_what_it_did(tuned: tuple[Path, Output]) -> None:
    out, output = tuned
    facts = {name: fact.value for name, fact in output.facts.items()}
    assert facts["train.loss_last"] < 0.8 * facts["train.loss_first"]
    assert facts["train.tokens"] >= 6000
    curve = json.loads((out / "loss.json").read_text())
    assert curve["tokens"][-1] == facts["train.tokens"]
    assert len(curve["step"]) == len(curve["loss"])
    assert {choice.name for choice in output.choices} >= {
        "train.precision",
        "train.allocator",
        "train.merged",
    }
    assert all(choice.why for choice in output.choices)


def test_the_adapter_opens_in_peft_and_equals_the_merged_weights_in_transformers(
    tuned: tuple[Path, Output], base: Path
) -> None:
    out, _ = tuned
    merged = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    ids = torch.randint(3, 300, (1, 30), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = plain(ids).logits
        adapted = PeftModel.from_pretrained(plain, out / "adapter")(ids).logits
        together = merged(ids).logits
    torch.testing.assert_close(together, adapted, rtol=1e-4, atol=1e-4)
    assert (together - before).abs().max() > 0.1


def test_the_tuned_folder_has_every_file_of_a_model(tuned: tuple[Path, Output], base: Path) -> None:
    out, _ = tuned
    for name in (
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "base.json",
    ):
        assert (out / name).read_bytes() == (base / name).read_bytes()
    assert (out / "generation_config.json").is_file()
    assert not list(out.rglob("*.part"))


def test_the_answers_and_their_end_are_what_is_learned(base: Path) -> None:
    prompter = Prompter(base)
    (one,) = samples.of_pair(prompter, pair(3))
    learned = [token for token, learn in zip(one.ids, one.learn, strict=True) if learn]
    assert learned == [*prompter.encode("3"), prompter.end]
    assert list(one.ids[: -len(learned)]) == prompter.prompt(conversation(pair(3))[:-1])


def test_a_pair_longer_than_a_row_is_left_out_and_told(
    base: Path, tmp_path: Path, workspace: Workspace
) -> None:
    long = pair(1) | {"passage": "word " * 400}
    corpus = write_corpus(tmp_path, [*(pair(number) for number in range(8)), long])
    output = tune.run(settings(budget={"tokens": 500}), inputs(corpus, base), workspace)
    told = {choice.name: choice for choice in output.choices}
    assert told["train.too_long"].value == "1 pairs left out"
    assert "256" in told["train.too_long"].why


def test_no_pair_that_fits_is_an_error_with_the_length_that_would(
    base: Path, tmp_path: Path, workspace: Workspace
) -> None:
    corpus = write_corpus(tmp_path, [pair(1) | {"passage": "word " * 400}])
    with pytest.raises(SourceError, match="longer than 256 tokens; the shortest has"):
        tune.run(settings(), inputs(corpus, base), workspace)


def test_a_corpus_without_pairs_is_an_error(base: Path, tmp_path: Path, workspace: Workspace) -> None:
    with pytest.raises(SourceError, match="no pair to learn from"):
        tune.run(settings(), inputs(write_corpus(tmp_path, []), base), workspace)


def test_a_tokenizer_of_another_vocabulary_is_an_error(base: Path) -> None:
    with pytest.raises(SourceError, match="the model knows 10 tokens"):
        samples.make([("p", samples.of_pair(Prompter(base), pair(1)))], longest=256, vocabulary=10)


def test_a_loss_that_is_no_number_stops_and_names_a_lower_rate(
    base: Path, corpus: Path, workspace: Workspace
) -> None:
    with pytest.raises(TrainingError, match="lower rate") as raised:
        tune.run(settings(learning_rate=0.99, clip=1e30, weight_decay=1e38), inputs(corpus, base), workspace)
    assert "at step" in raised.value.what


def spoil(monkeypatch: pytest.MonkeyPatch, spoilt: Callable[[int], bool], loss: float) -> list[int]:
    """Have the steps that `spoilt` names give this loss, whenever they come; the numbers of steps tried."""
    right, tried = loop.update, list[int]()

    def update(run: loop.Run, adamw: Any, number: int, rows: Any, losses: Any = ()) -> float:
        tried.append(number)
        inner = run.step.forward_backward

        def forward_backward(batch: Any) -> Result:
            found = inner(batch)
            return Result(loss * found.count, found.count) if spoilt(number) else found

        monkeypatch.setattr(run.step, "forward_backward", forward_backward)
        try:
            return right(run, adamw, number, rows, losses)
        finally:
            monkeypatch.setattr(run.step, "forward_backward", inner)

    monkeypatch.setattr(loop, "update", update)
    return tried


@pytest.mark.parametrize("loss", [math.nan, 1e4])
def test_a_spoilt_step_is_left_out_from_the_last_checkpoint_on(
    base: Path, corpus: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, loss: float
) -> None:
    monkeypatch.setattr(checkpoint, "EVERY_S", 0.0)  # after each step
    monkeypatch.setattr(checkpoint, "COST_SHARE", math.inf)
    monkeypatch.setattr(loop, "WATCHED", 4)
    tried = spoil(monkeypatch, lambda number: number == 6, loss)
    output = tune.run(settings(), inputs(corpus, base), workspace)
    assert tried[:9] == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    told = {choice.name: choice for choice in output.choices}
    assert told["train.skipped"].value == "steps left out: 7"
    kept = json.loads((workspace.out / "loss.json").read_text())
    assert 7 not in kept["step"]
    assert {6, 8} < set(kept["step"])
    assert len(kept["step"]) == len(kept["loss"]) == len(kept["tokens"])
    assert max(kept["loss"]) < 100


def test_a_run_that_goes_back_takes_the_same_steps_again(
    base: Path, corpus: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "EVERY_S", 1e9)  # at the start only
    tried = spoil(monkeypatch, lambda number: number == 3, math.nan)
    tune.run(settings(budget={"tokens": 4000}), inputs(corpus, base), workspace)
    assert tried[:8] == [0, 1, 2, 3, 0, 1, 2, 4]


def test_a_run_that_falls_apart_stops(
    base: Path, corpus: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = spoil(monkeypatch, lambda number: number >= 4, math.nan)
    with pytest.raises(TrainingError, match="after 3 such steps had been left out"):
        tune.run(settings(), inputs(corpus, base), workspace)
    assert set(tried) == {0, 1, 2, 3, 4, 5, 6, 7}


def test_a_full_disk_names_the_folder_and_keeps_the_last_checkpoint(
    base: Path, corpus: Path, workspace: Workspace
) -> None:
    tune.run(settings(budget={"tokens": 1000}), inputs(corpus, base), workspace)
    kept = (workspace.state / checkpoint.NAME).read_bytes()
    part = workspace.state / f"{checkpoint.NAME}.part"
    part.symlink_to("/dev/full")  # every write to it fails with ENOSPC
    with pytest.raises(NoRoom, match="disk is full") as raised:
        save_once_more(workspace)
    assert str(workspace.state) in raised.value.where
    assert (workspace.state / checkpoint.NAME).read_bytes() == kept


def save_once_more(workspace: Workspace) -> None:
    """Save once more, as the loop does."""
    flat = torch.zeros(4)
    adamw = torch.optim.AdamW([torch.nn.Parameter(flat)], fused=True)
    adamw.param_groups[0]["params"][0].grad = torch.ones(4)
    adamw.step()
    checkpoint.save(workspace.state, flat, adamw, checkpoint.Progress(1, 1, 1.0, [1.0], [1]))


def test_minutes_become_tokens_once(base: Path, corpus: Path, workspace: Workspace) -> None:
    told: list[dict[str, float]] = []
    watching = Workspace(
        workspace.folder, 1, lambda text, **numbers: told.append(numbers) if text == "tuning" else None
    )
    asked = settings(budget={"minutes": 0.05}, precision="auto")
    output = tune.run(asked, inputs(corpus, base), watching)
    plan = (workspace.state / "plan.json").read_bytes()
    choices = {choice.name: choice for choice in output.choices}
    assert "0.05 minutes at" in choices["train.budget_tokens"].why
    assert choices["train.precision"].value in ("fp32", "bf16")
    assert told[-1]["done"] == told[-1]["total"] == output.facts["train.tokens"].value
    again = tune.run(asked, inputs(corpus, base), watching)
    assert (workspace.state / "plan.json").read_bytes() == plan
    assert again.facts["train.tokens"] == output.facts["train.tokens"]


def test_a_checkpoint_that_takes_long_is_written_less_often(
    base: Path, corpus: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checkpoint.every(1.0, 0.1) == 20
    assert checkpoint.every(1.0, 2.0) == 100
    assert checkpoint.every(60.0, 0.1) == 1
    save = checkpoint.save

    def slow(*told: Any) -> None:
        time.sleep(0.3)
        save(*told)

    monkeypatch.setattr(checkpoint, "EVERY_S", 0.0)
    monkeypatch.setattr(checkpoint, "save", slow)
    tune.run(settings(), inputs(corpus, base), workspace)
    assert json.loads((workspace.state / "plan.json").read_text())["every"] > 20


@pytest.mark.parametrize("shape", ["cosine", "linear", "wsd"])
def test_the_rate_rises_then_falls_and_never_reaches_zero(shape: Shape) -> None:
    rates = [rate(step, 100, peak=1e-3, warmup=0.1, shape=shape) for step in range(100)]
    assert rates[9] == max(rates) == 1e-3
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert 0 < rates[-1] < 1e-3 / 15
    assert rate(0, 1, peak=1e-3, warmup=0.05, shape=shape) > 0


def test_the_rate_stays_at_its_peak_until_the_last_fifth_or_for_ever() -> None:
    rates = [rate(step, 100, peak=1e-3, warmup=0.1, shape="wsd") for step in range(100)]
    assert set(rates[9:81]) == {1e-3}
    assert rates[90] == pytest.approx(1e-3 * 10 / 91 / 0.2)
    assert {rate(step, 100, peak=1e-3, warmup=0.1, shape="constant") for step in range(9, 100)} == {1e-3}


def test_a_plateau_halves_the_rate_and_nothing_else_does() -> None:
    falling = [10 * 0.97**step for step in range(100)]
    assert rate(99, 100, peak=1e-3, warmup=0.1, shape="plateau", losses=falling[:99]) == 1e-3
    flat = falling[:40] + [falling[39]] * 59
    rates = [
        rate(step, 100, peak=1e-3, warmup=0.0, shape="plateau", losses=flat[:step]) for step in range(100)
    ]
    assert rates[:52] == [1e-3] * 52  # two windows of four after the last one that fell, 40 to 43
    assert rates[52:60] == [5e-4] * 8
    assert rates[99] < 1e-4
    assert rates == sorted(rates, reverse=True)


def test_float16_learns_with_a_scaled_gradient(base: Path, corpus: Path, workspace: Workspace) -> None:
    told = tune.run(settings(precision="fp16", learning_rate=2e-2), inputs(corpus, base), workspace).facts
    assert told["train.loss_last"].value < 0.8 * told["train.loss_first"].value  # type: ignore[operator]
    scale = checkpoint.read(workspace.state).progress.scale
    assert scale is not None
    assert scale > 1000  # it begins at 65,536


def test_a_gradient_that_overflows_is_scaled_less_and_keeps_its_value(base: Path) -> None:
    model = load_model(base)
    step = ExplicitStep(model, adapt(model, rank=4, scale=2.0, seed=1), workers=1, threads=1)
    rows = loop.batch([samples.of_pair(Prompter(base), pair(3))], ((0,),))
    loop._gradient(step, rows)
    wide = step.gradient.clone()
    set_precision(step, "fp16")
    step.scale = 2.0**40
    result, norm = loop._gradient(step, rows)
    assert 1 < step.scale < 2.0**40
    assert norm == pytest.approx(float(wide.norm()), rel=0.02)
    assert torch.nn.functional.cosine_similarity(step.gradient, wide, dim=0) > 0.99
    assert result.count == 2


def test_a_stabilized_scale_falls_with_the_root_of_the_rank() -> None:
    assert Lora(rank=16).scale == Lora(rank=16, stabilized=True).scale == 2
    assert Lora(rank=64).scale == 2
    assert Lora(rank=64, stabilized=True).scale == 1
    assert Lora(rank=64, alpha=16, stabilized=True).scale == 2


@pytest.mark.parametrize(
    ("method", "threads", "kills"),
    [("lora", 1, 15), ("lora", 2, 15), ("full", 1, 10), ("preference", 1, 5), ("fp16", 1, 5)],
)
def test_a_run_killed_at_random_moments_ends_with_the_same_bytes_as_an_undisturbed_one(
    base: Path, tmp_path: Path, method: str, threads: int, kills: int
) -> None:
    rows = [pair(number) | {"rejected": str((number + 1) % 10)} for number in range(40)]
    told = killed(base, write_corpus(tmp_path, rows), tmp_path, threads, kills, method)
    assert told["killed"] >= kills
    assert told["resumed"] >= kills // 3  # some kills fell after a checkpoint
    assert told["different"] == []


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_example_killed_three_times_ends_with_the_same_bytes(tmp_path: Path) -> None:
    desk = tmp_path / "pydesk"
    ignored = shutil.ignore_patterns(".yard", "build")
    shutil.copytree(Path(__file__).parents[2] / "examples" / "pydesk", desk, ignore=ignored)
    main = [sys.executable, "-m", "modelyard"]
    for command in ([sys.executable, "make_pairs.py"], [*main, "up", "--to", "train.base"]):
        subprocess.run(command, cwd=desk, check=True, capture_output=True)
    subprocess.run([*main, "up", "--to", "data.prepare"], cwd=desk, check=True, capture_output=True)
    yard = Yard(desk / ".yard")
    base, corpus = (yard.find(step=step)[0].folder for step in ("train.base", "data.prepare"))
    told = killed(base, corpus, tmp_path, 2, 3, "example")
    assert told["killed"] == 3
    assert told["different"] == []


def killed(base: Path, corpus: Path, place: Path, threads: int, kills: int, method: str) -> dict[str, Any]:
    """What killed.py says."""
    child = Path(__file__).with_name("killed.py")
    command = [sys.executable, str(child), str(base), str(corpus), str(place), str(threads), str(kills)]
    done = subprocess.run([*command, method], capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told
