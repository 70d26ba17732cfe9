"""A GPU gives what the CPU gives: losses, gradients, a whole run. Only where there is one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.train.stage import TRAIN, inputs

from modelyard.errors import TrainingError
from modelyard.records.shapes import Output, Workspace
from modelyard.train import checkpoint, loop, tune, whole
from modelyard.train.device import room
from modelyard.train.load import load_model
from modelyard.train.lora import adapt
from modelyard.train.row import pack
from modelyard.train.samples import Sample
from modelyard.train.settings import TuneSettings
from modelyard.train.step import AutogradStep

HERE = torch.cuda.is_available()
on_gpu = pytest.mark.skipif(not HERE, reason="needs a GPU")
SHORT = {"budget": {"tokens": 3000}}


def settings(**told: Any) -> TuneSettings:
    return TuneSettings.model_validate({"train": TRAIN | SHORT | told})


def work(folder: Path) -> Workspace:
    (folder / "out").mkdir(parents=True)
    (folder / "state").mkdir()
    return Workspace(folder, 2, lambda *_, **__: None)


def losses(workspace: Workspace) -> torch.Tensor:
    return torch.tensor(json.loads((workspace.out / "loss.json").read_text())["loss"])


def named(output: Output) -> dict[str, str]:
    return {choice.name: choice.value for choice in output.choices}


@pytest.mark.skipif(HERE, reason="there is one")
def test_a_gpu_that_is_not_there_is_not_waited_for(base: Path, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="sees no GPU") as raised:
        tune.run(settings(device="cuda"), inputs(corpus, base), work(tmp_path))
    assert "device: cpu" in str(raised.value.try_)


def test_a_gpu_and_processes_that_train_together_are_refused() -> None:
    with pytest.raises(ValueError, match="device: cuda or parallel"):
        settings(device="cuda", parallel={"data": 2})


def test_the_device_is_no_part_of_what_is_asked() -> None:
    assert settings(device="cuda").model_dump() == settings(device="cpu").model_dump()


@on_gpu
@pytest.mark.parametrize("full", [False, True])
def test_the_gradient_on_a_gpu_is_that_on_a_cpu(base: Path, full: bool) -> None:
    rows = [
        pack([Sample(tuple(range(5, 5 + n)), (False, *[True] * (n - 1))) for n in lengths])
        for lengths in ((30, 31, 9), (64,))
    ]
    found = []
    for device in ("cpu", "cuda"):
        model = load_model(base, device)
        trained: Any = whole.take(model) if full else adapt(model, rank=4, scale=2.0, seed=0)
        noise = torch.randn(trained.flat.shape, generator=torch.Generator().manual_seed(1))
        trained.flat.add_(noise.to(device), alpha=0.01)
        step = AutogradStep(model, trained, workers=1, threads=1)
        result = step.forward_backward(rows)
        told = torch.cat(step.losses(rows))
        assert told.device.type == "cpu"
        assert float(told.sum()) == pytest.approx(result.loss, rel=1e-5)
        found.append((result.loss, step.gradient.cpu()))
    (loss, gradient), (other, theirs) = found
    assert other == pytest.approx(loss, rel=1e-5)
    assert float((gradient - theirs).norm() / gradient.norm()) < 1e-4


@on_gpu
@pytest.mark.parametrize("method", [{"lora": {"rank": 4}}, {"full": {}}])
def test_a_run_on_a_gpu_learns_as_one_on_a_cpu(
    base: Path, corpus: Path, tmp_path: Path, method: dict[str, Any]
) -> None:
    made = {device: work(tmp_path / device) for device in ("cpu", "cuda")}
    for device, workspace in made.items():
        output = tune.run(
            settings(method=method, device=device, learning_rate=1e-3), inputs(corpus, base), workspace
        )
        assert named(output).get("train.device") == ("cuda" if device == "cuda" else None)
        assert ("train.gpu_memory_peak_gib" in output.facts) is (device == "cuda")
    torch.testing.assert_close(losses(made["cuda"]), losses(made["cpu"]), rtol=1e-3, atol=1e-3)
    for name, tensor in load_file(made["cuda"].out / "model.safetensors").items():
        assert torch.isfinite(tensor.float()).all(), name


@on_gpu
@pytest.mark.parametrize("told", [{"precision": "bf16"}, {"precision": "fp16"}, {"precision": "auto"}])
def test_a_narrow_precision_on_a_gpu_learns_as_a_cpu_does(
    base: Path, corpus: Path, tmp_path: Path, told: dict[str, Any]
) -> None:
    workspace, wide = work(tmp_path / "narrow"), work(tmp_path / "wide")
    output = tune.run(settings(**told), inputs(corpus, base), workspace)
    tune.run(settings(device="cpu"), inputs(corpus, base), wide)
    torch.testing.assert_close(losses(workspace), losses(wide), rtol=2e-2, atol=2e-2)
    assert named(output)["train.precision"] in ("bf16", "fp16", "fp32")


@on_gpu
def test_what_a_gpu_began_a_cpu_ends(
    base: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Exception):
        pass

    right = loop.update

    def update(run: loop.Run, adamw: Any, number: int, *rest: Any) -> float:
        if number == 3:
            raise Stop
        return right(run, adamw, number, *rest)

    workspace = work(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "update", update)
        patch.setattr(checkpoint, "EVERY_S", 0.0)
        patch.setattr(checkpoint, "COST_SHARE", 1e9)
        with pytest.raises(Stop):
            tune.run(settings(device="cuda"), inputs(corpus, base), workspace)
    assert checkpoint.step_of(workspace.state) == 3
    tune.run(settings(device="cpu"), inputs(corpus, base), workspace)
    quiet = work(tmp_path / "quiet")
    tune.run(settings(device="cpu"), inputs(corpus, base), quiet)
    torch.testing.assert_close(losses(workspace), losses(quiet), rtol=1e-3, atol=1e-3)


@on_gpu
def test_a_full_gpu_is_told_as_such() -> None:
    with pytest.raises(TrainingError, match="is full"), room():
        torch.empty(1 << 46, device="cuda")


def test_a_row_that_is_there_already_is_not_moved() -> None:
    row = pack([Sample((1, 2, 3), (False, True, True))])
    assert row.to(torch.device("cpu")) is row
    assert replace(row).to(torch.device("meta")).ids.device.type == "meta"
