"""Several processes train one model: as one process would, from any layout's checkpoint, or a clear end."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from tests.tiny import tiny_model
from tests.train.stage import TRAIN, inputs, write_corpus

from modelyard.errors import NoRoom, RecordError, TrainingError
from modelyard.records.shapes import FileEntry, Inputs, SourceFiles, Workspace
from modelyard.train import checkpoint, loop, tune
from modelyard.train.base import run as make_base
from modelyard.train.locate import locate
from modelyard.train.parallel import checkpoint as spread
from modelyard.train.parallel import start
from modelyard.train.parallel.place import check_fits
from modelyard.train.parallel.team import check_world
from modelyard.train.settings import BaseSettings, Parallel, TuneSettings

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that can be cut into two."""
    return tiny_model(tmp_path_factory.mktemp("wide"), layers=4, heads=4, kv_heads=2)


def settings(parallel: dict[str, int] | None, **changed: Any) -> TuneSettings:
    told = TRAIN | {"budget": {"tokens": 3000}, "parallel": parallel} | changed
    return TuneSettings.model_validate({"train": told})


def work(folder: Path) -> Workspace:
    (folder / "out").mkdir(parents=True, exist_ok=True)
    (folder / "state").mkdir(exist_ok=True)
    return Workspace(folder, 2, lambda *_, **__: None)


@pytest.mark.parametrize("world", [2, 4])
def test_every_layout_takes_the_steps_of_one_process(world: int, tmp_path: Path) -> None:
    command = [sys.executable, str(HERE / "spread.py"), str(world), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    apart = json.loads(done.stdout.splitlines()[-1])
    assert len(apart) == {2: 11, 4: 6}[world]
    assert {case: far for case, far in apart.items() if not far < 1e-9} == {}


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("world", [2, 3])
def test_a_real_models_first_step_is_that_of_one_process(tmp_path: Path, world: int) -> None:
    known = locate("smollm2-135m-instruct", tmp_path)
    files = {name: FileEntry("", (known.root / name).stat().st_size) for name in known.files}
    made = work(tmp_path / "base")
    sources = (SourceFiles("smollm2-135m-instruct", known.root, files),)
    make_base(BaseSettings(base="smollm2-135m-instruct"), Inputs({}, sources), made)
    command = [sys.executable, str(HERE / "spread.py"), str(world), str(tmp_path), str(made.out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    apart = json.loads(done.stdout.splitlines()[-1])
    assert len(apart) == {2: 3, 3: 1}[world]
    assert {layout: far for layout, far in apart.items() if not far < 1e-5} == {}


def test_a_model_trained_by_two_processes_is_that_of_one(wide: Path, corpus: Path, tmp_path: Path) -> None:
    ends, facts = [], []
    for layout in (None, {"shard": 2}):
        output = tune.run(settings(layout), inputs(corpus, wide), work(tmp_path / str(layout)))
        ends.append(load_file(tmp_path / str(layout) / "out" / "model.safetensors"))
        facts.append({name: fact.value for name, fact in output.facts.items()})
    for name, one in ends[0].items():
        torch.testing.assert_close(ends[1][name], one, rtol=1e-3, atol=1e-4)
    assert facts[1]["train.tokens"] == facts[0]["train.tokens"]
    assert facts[1]["forget.loss"] == pytest.approx(facts[0]["forget.loss"], rel=1e-4)
    assert {choice.name: choice.value for choice in output.choices}["train.parallel"] == "shard 2"
    assert (tmp_path / str(layout) / "out" / "adapter" / "adapter_model.safetensors").is_file()


def test_pieces_of_documents_as_long_as_a_row_go_through_a_pipeline(wide: Path, tmp_path: Path) -> None:
    folder = write_corpus(tmp_path)
    text = "The limit of a call is 30. The timeout of a call is 10. " * 40
    (folder / "documents.jsonl").write_text(json.dumps({"id": "d", "source": "docs", "text": text}) + "\n")
    asked = settings({"pipeline": 2}, mixture={"docs": 1}, sequence_tokens=40, budget={"tokens": 600})
    output = tune.run(asked, inputs(folder, wide), work(tmp_path / "w"))
    assert output.facts["train.tokens"].value


def in_the_middle(wide: Path, corpus: Path, workspace: Workspace, parallel: dict[str, int]) -> None:
    """A run in this layout that somebody interrupts between its first checkpoint and its last."""
    script = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "from pathlib import Path\n"
        "from tests.train.test_parallel import interrupted\n"
        "if __name__ == '__main__': interrupted(*map(Path, sys.argv[3:6]), sys.argv[6])\n"
    )
    file = workspace.folder / "interrupted.py"
    file.write_text(script)
    root = HERE.parents[1]
    told = [str(root / "src"), str(root), str(wide), str(corpus), str(workspace.folder), json.dumps(parallel)]
    child = subprocess.Popen([sys.executable, str(file), *told], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    least = max(1, checkpoint.step_of(workspace.state), spread.step_of(workspace.state)) + 1
    while spread.step_of(workspace.state) < least:
        assert child.poll() is None, child.communicate()[1][-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()


def interrupted(wide: Path, corpus: Path, folder: Path, parallel: str) -> None:
    checkpoint.EVERY_S, checkpoint.COST_SHARE = 0.0, math.inf
    tune.run(settings(json.loads(parallel), budget={"tokens": 12000}), inputs(corpus, wide), work(folder))


def first_steps(
    wide: Path, corpus: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> list[float]:
    """Three steps of a process alone, which then stops; their losses."""

    class Stop(Exception):
        pass

    right, losses = loop.update, []

    def update(run: loop.Run, adamw: Any, number: int, *rest: Any) -> float:
        if number == 3:
            raise Stop
        losses.append(right(run, adamw, number, *rest))
        return losses[-1]

    asked = settings(None, budget={"tokens": 12000})
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "EVERY_S", 0.0)
        patch.setattr(checkpoint, "COST_SHARE", math.inf)
        patch.setattr(loop, "update", update)
        with pytest.raises(Stop):
            tune.run(asked, inputs(corpus, wide), workspace)
    return losses


def test_a_checkpoint_of_one_is_taken_up_by_four_then_two_then_one(
    wide: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = {"tokens": 12000}
    tune.run(settings(None, budget=budget), inputs(corpus, wide), work(tmp_path / "quiet"))
    wanted = load_file(tmp_path / "quiet" / "out" / "model.safetensors")
    hit = work(tmp_path / "hit")
    alone = first_steps(wide, corpus, hit, monkeypatch)
    in_the_middle(wide, corpus, hit, {"data": 2, "shard": 2})
    first = spread.step_of(hit.state)
    assert first > len(alone) == 3
    losses = json.loads((hit.state / "spread.json").read_text())["losses"]
    assert len(losses) == first
    assert losses[:3] == alone
    in_the_middle(wide, corpus, hit, {"pipeline": 2})
    assert spread.step_of(hit.state) >= first
    output = tune.run(settings(None, budget=budget), inputs(corpus, wide), hit)
    for name, one in load_file(hit.out / "model.safetensors").items():
        torch.testing.assert_close(one, wanted[name], rtol=1e-3, atol=2e-4)
    assert len(json.loads((hit.out / "loss.json").read_text())["loss"]) == output.facts["train.tps"].n


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def trainers() -> list[int]:
    """Processes that this one has started to train."""
    return [
        child
        for child in children_of(os.getpid())
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


@pytest.fixture
def killer() -> Iterator[dict[str, Any]]:
    """Kills one of the processes once all train; `seen` tells when."""
    told: dict[str, Any] = {}

    def kill() -> None:
        while "stop" not in told:
            if told.get("steps") and len(found := trainers()) == 2:
                told["at"] = time.monotonic()
                os.kill(found[1], signal.SIGKILL)
                return
            time.sleep(0.01)

    thread = threading.Thread(target=kill)
    thread.start()
    yield told
    told["stop"] = True
    thread.join()


def test_when_one_dies_the_others_end_within_seconds_and_it_is_told(
    wide: Path, corpus: Path, tmp_path: Path, killer: dict[str, Any]
) -> None:
    def report(text: str, **numbers: Any) -> None:
        if text == "tuning":
            killer["steps"] = numbers

    space = Workspace(work(tmp_path / "w").folder, 2, report)
    with pytest.raises(TrainingError, match=r"process \d of 2 was ended by SIGKILL") as raised:
        tune.run(settings({"data": 2}, budget={"tokens": 400_000}), inputs(corpus, wide), space)
    assert time.monotonic() - killer["at"] < 15
    assert "goes on from the last checkpoint" in raised.value.try_
    assert trainers() == []


def together(wide: Path, corpus: Path, folder: Path, *told: str) -> list[tuple[int, str]]:
    """Two processes as torchrun starts them; how each ended and what it said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    command = [
        sys.executable,
        str(HERE / "teamed.py"),
        str(wide),
        str(corpus),
        str(work(folder).folder),
        *told,
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    children = [
        subprocess.Popen(command, env=os.environ | common | {"RANK": rank}, **pipes)  # type: ignore[call-overload]
        for rank in "01"
    ]
    said = [child.communicate(timeout=300) for child in children]
    return [(child.returncode, out or err[-2000:]) for child, (out, err) in zip(children, said, strict=True)]


def test_of_the_processes_that_torchrun_starts_one_writes_the_model_and_all_end(
    wide: Path, corpus: Path, tmp_path: Path
) -> None:
    assert together(wide, corpus, tmp_path) == [(0, "shard 2\n"), (0, "")]
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_the_first_that_torchrun_started_says_that_another_is_gone(
    wide: Path, corpus: Path, tmp_path: Path
) -> None:
    first, other = together(wide, corpus, tmp_path, "dies")
    assert other == (-signal.SIGKILL, "")
    assert first[0] == 1
    assert first[1].startswith("TrainingError another process of the team ended")


def test_an_error_of_one_process_is_the_error_of_the_run(wide: Path, corpus: Path, tmp_path: Path) -> None:
    asked = settings({"data": 2}, learning_rate=0.99, clip=1e30, weight_decay=1e38)
    with pytest.raises(TrainingError, match="at step") as raised:
        tune.run(asked, inputs(corpus, wide), work(tmp_path / "w"))
    assert "lower rate" in raised.value.try_


def test_a_layout_that_does_not_divide_the_model_is_refused_before_anything_starts(
    wide: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "spawn", lambda *_, **__: pytest.fail("a process was started"))
    with pytest.raises(TrainingError, match="cannot be cut into 3 equal parts") as raised:
        tune.run(settings({"tensor": 3}), inputs(corpus, wide), work(tmp_path / "a"))
    assert raised.value.try_ == "tensor: 1 or 2"
    with pytest.raises(TrainingError, match="4 layers cannot be dealt to 5 stages"):
        tune.run(settings({"pipeline": 5}), inputs(corpus, wide), work(tmp_path / "b"))


def test_a_world_of_another_size_is_refused() -> None:
    with pytest.raises(TrainingError, match="needs 4 processes, and there are 3"):
        check_world(Parallel(data=2, shard=2), 3)
    with pytest.raises(TrainingError, match="needs 1 processes, and there are 2"):  # that nobody told of
        check_world(None, 2)
    check_fits(Parallel(data=3), {})


def test_two_ways_to_share_a_model_at_once_are_refused() -> None:
    with pytest.raises(ValidationError, match="one of shard, tensor and pipeline"):
        Parallel(shard=2, tensor=2)


def saved(state: Path, steps: int = 3) -> tuple[torch.Tensor, torch.optim.AdamW, Any]:
    state.mkdir(exist_ok=True)
    flat = torch.arange(6.0)
    adamw = loop.optimizer(flat, settings(None).train)
    spread.save(state, named, flat, adamw, checkpoint.Progress(steps, 9, 1.0, [0.1] * steps, [3, 6, 9]))
    return flat, adamw, named


def named(flat: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"a": flat[:2], "b": flat[2:].view(2, 2)}


@pytest.mark.parametrize("buffering", [0, -1])  # torch's own file format fails, or closing the file does
def test_a_full_disk_while_all_save_keeps_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, buffering: int
) -> None:
    flat, adamw, _ = saved(tmp_path)

    @contextmanager
    def full(*_: Any) -> Iterator[IO[bytes]]:
        with open("/dev/full", "wb", buffering=buffering) as stream:  # every write to it fails with ENOSPC
            yield stream

    monkeypatch.setattr("torch.distributed.checkpoint.filesystem.FileSystem.create_stream", full)
    with pytest.raises(NoRoom, match="disk is full"):
        spread.save(
            tmp_path, named, flat + 1, adamw, checkpoint.Progress(4, 12, 1.0, [0.1] * 4, [3, 6, 9, 12])
        )
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["spread-a", "spread.json"]
    other = torch.zeros(6)
    progress = spread.load(tmp_path, named, other, loop.optimizer(other, settings(None).train))
    assert progress.step == 3
    assert torch.equal(other, torch.arange(6.0))


def test_a_checkpoint_that_was_half_written_when_all_were_killed_does_not_count(tmp_path: Path) -> None:
    flat, adamw, _ = saved(tmp_path)
    (tmp_path / "spread-b").mkdir()
    (tmp_path / "spread-b" / "__0_0.distcp").write_bytes(b"half")
    assert spread.step_of(tmp_path) == 3
    spread.save(tmp_path, named, flat, adamw, checkpoint.Progress(4, 12, 1.0, [0.1] * 4, [3, 6, 9, 12]))
    assert spread.step_of(tmp_path) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["spread-b", "spread.json"]


def test_a_kill_while_the_same_step_is_saved_again_leaves_what_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat, adamw, _ = saved(tmp_path)
    writer = "torch.distributed.checkpoint.filesystem.FileSystemWriter.finish"
    monkeypatch.setattr(writer, lambda *_, **__: pytest.exit("killed"))
    with pytest.raises(BaseException, match="killed"):
        spread.save(tmp_path, named, flat + 1, adamw, checkpoint.Progress(3, 9, 1.0, [0.1] * 3, [3, 6, 9]))
    other = torch.zeros(6)
    spread.load(tmp_path, named, other, loop.optimizer(other, settings(None).train))
    assert torch.equal(other, torch.arange(6.0))


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    flat, adamw, _ = saved(tmp_path)
    (file,) = (tmp_path / "spread-a").glob("*.distcp")
    file.unlink()
    with pytest.raises(RecordError, match="damaged"):
        spread.load(tmp_path, named, flat, adamw)
    (tmp_path / "spread.json").write_text("{")
    with pytest.raises(RecordError, match="damaged"):
        spread.step_of(tmp_path)
