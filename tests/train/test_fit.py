"""A run fits into memory before it begins, or is refused; what is computed twice is the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.train.stage import TRAIN, inputs
from tests.train.test_step import MIXES, load, sample

from modelyard import machine
from modelyard.errors import TrainingError
from modelyard.estimate import training
from modelyard.estimate.configuration import of_config
from modelyard.estimate.operations import trained_token
from modelyard.estimate.shape import Shape
from modelyard.prompt import Prompter
from modelyard.records.shapes import Workspace
from modelyard.train import here, tune
from modelyard.train.explicit.step import ExplicitStep
from modelyard.train.fit import GIB, SHARE, Cut, fit
from modelyard.train.material import gather
from modelyard.train.row import pack
from modelyard.train.settings import TuneSettings

SMOLLM2 = {
    "num_hidden_layers": 30,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}
ASKED = Cut(512, 2, recompute=False)
Room = Callable[[float], None]


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    def set_room(gib: float) -> None:
        monkeypatch.setattr(machine, "memory_available_gib", lambda: gib)

    return set_room


def predicted(cut: Cut, longest: int, rank: int | None = 16) -> float:
    """GiB that have to be available."""
    shape = of_config(SMOLLM2)
    assert shape is not None
    run = training.Run(rank, cut.row_tokens, min(longest, cut.row_tokens), cut.workers, cut.recompute)
    return sum(training.memory_bytes(shape, run).values()) / SHARE / GIB


def test_a_run_with_room_is_as_asked(room: Room) -> None:
    room(16)
    assert fit(SMOLLM2, ASKED, rank=16, longest=200) == (ASKED, [])


def test_with_less_room_rows_get_shorter_then_layers_are_computed_twice_then_fewer_rows_run_at_once(
    room: Room,
) -> None:
    ways = [ASKED]
    while True:
        room(predicted(ways[-1], 200) - 0.001)
        try:
            cut, choices = fit(SMOLLM2, ASKED, rank=16, longest=200)
        except TrainingError:
            break
        assert {choice.name for choice in choices} <= {"train.rows", "train.recompute", "train.rows_at_once"}
        assert all("GiB" in choice.why for choice in choices)
        ways.append(cut)
    assert [(way.row_tokens, way.workers, way.recompute) for way in ways] == [
        (512, 2, False),
        (256, 2, False),
        (200, 2, False),
        (512, 2, True),
        (256, 2, True),
        (200, 2, True),
        (512, 1, True),
        (256, 1, True),
        (200, 1, True),
    ]


@pytest.mark.parametrize(
    ("rank", "largest", "change"),
    [(None, "optimizer", "lora"), (16, "process|weights|copies", "more memory")],
)
def test_what_cannot_fit_is_refused_with_its_largest_term_and_what_to_change(
    room: Room, rank: int | None, largest: str, change: str
) -> None:
    room(1.0)
    with pytest.raises(
        TrainingError, match=rf"134M parameters would take .* 1\.0 are available.*{largest}"
    ) as told:
        fit(SMOLLM2, ASKED, rank=rank, longest=200)
    assert change in told.value.try_


def test_a_teacher_counts_and_is_named_where_it_is_the_largest(room: Room) -> None:
    room(predicted(ASKED, 200) + 0.1)
    assert fit(SMOLLM2, ASKED, rank=16, longest=200)[0] == ASKED
    large = SMOLLM2 | {"hidden_size": 2048, "intermediate_size": 8192}
    with pytest.raises(TrainingError, match="is teacher") as told:
        fit(SMOLLM2, ASKED, rank=16, longest=200, teacher=large)
    assert told.value.try_ == "a smaller teacher"


def test_what_autograd_trains_is_not_foretold_and_not_said_to_be_computed_twice(
    base: Path, corpus: Path, workspace: Workspace, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    room(0.1)
    some = TRAIN | {"budget": {"tokens": 600}, "method": {"lora": {"rank": 4, "targets": ["q_proj"]}}}
    output = tune.run(TuneSettings.model_validate({"train": some}), inputs(corpus, base), workspace)
    told = {choice.name: choice.value for choice in output.choices}
    assert told["train.step"] == "autograd"
    assert "train.recompute" not in told
    monkeypatch.setattr(here, "fit", lambda *_, **__: (Cut(256, 1, recompute=True), []))
    monkeypatch.setattr("modelyard.train.choose_step.unknown", lambda *_: "it is not to be used")
    fresh = workspace.folder / "fresh"
    (fresh / "state").mkdir(parents=True)
    with pytest.raises(TrainingError, match="computed twice, and it is not to be used"):
        tune.run(
            TuneSettings.model_validate({"train": TRAIN}),
            inputs(corpus, base),
            Workspace(fresh, 1, lambda *_, **__: None),
        )


def test_a_base_of_an_unknown_kind_runs_as_asked(room: Room) -> None:
    room(0.1)
    assert fit({"model_type": "strange"}, ASKED, rank=16, longest=200) == (ASKED, [])


@pytest.mark.parametrize("mix", MIXES)
def test_layers_computed_twice_give_the_same_bits(base: Path, mix: str) -> None:
    model, adapters = load(base, packed=True)
    batch = [pack(MIXES[mix]), pack([sample(7, 100)])]
    found = []
    for twice in (False, True):
        step = ExplicitStep(model, adapters, workers=1, threads=1)
        step.recompute = twice
        found.append((step.forward_backward(batch).loss, step.gradient))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


def test_a_run_in_little_memory_says_how_it_was_cut_and_goes_on_so(
    base: Path, corpus: Path, workspace: Workspace, room: Room
) -> None:
    config = json.loads((base / "config.json").read_text())
    shape = of_config(config)
    assert shape is not None
    asked = TuneSettings.model_validate({"train": TRAIN | {"budget": {"tokens": 2000}}})
    longest = max(gather(corpus, Prompter(base), asked.train, 1 << 30).found.lengths)
    terms = training.memory_bytes(shape, training.Run(4, longest, longest, 1, recompute=True))
    room(sum(terms.values()) / SHARE / GIB + 1e-6)
    told = {choice.name: choice.value for choice in tune.run(asked, inputs(corpus, base), workspace).choices}
    assert told["train.recompute"] == "each layer twice"
    plan = json.loads((workspace.state / "plan.json").read_text())
    assert plan["cut"]["recompute"] is True
    room(1000)  # a resumed run keeps its cut, for the sums' order depends on it
    again = {choice.name: choice.value for choice in tune.run(asked, inputs(corpus, base), workspace).choices}
    assert again["train.recompute"] == "each layer twice"


shapes = st.builds(
    lambda layers, heads, share, size, inner, words, tied: Shape(
        layers, heads * share * size, inner, heads * share, heads, size, words, tied
    ),
    st.integers(1, 40), st.integers(1, 8), st.integers(1, 4), st.sampled_from([16, 64, 128]),
    st.integers(64, 8192), st.integers(1000, 150_000), st.booleans(),
)  # fmt: skip


@given(shapes, st.integers(32, 2048), st.integers(1, 8), st.integers(1, 128))
def test_memory_grows_with_what_it_is_made_of(shape: Shape, tokens: int, workers: int, rank: int) -> None:
    def total(**changed: Any) -> int:
        told: dict[str, Any] = {"rank": rank, "row_tokens": tokens, "longest": tokens, "workers": workers}
        return sum(
            training.memory_bytes(shape, training.Run(**told | {"recompute": False} | changed)).values()
        )

    plain = total()
    assert total(rank=rank + 8) > plain
    assert total(row_tokens=2 * tokens) > plain
    assert total(workers=workers + 1) > plain
    if shape.layers > 3:
        assert total(recompute=True) < plain


@given(shapes)
def test_operations_are_six_or_four_a_parameter_and_token(shape: Shape) -> None:
    matrices = shape.layers * shape.layer_matrices + shape.width * shape.words
    assert trained_token(shape, whole=True, labels=1, seen=0) == 6 * matrices
    assert trained_token(shape, whole=False, labels=1, seen=0) == 4 * matrices
    assert trained_token(shape, whole=False, labels=0, seen=0) == 4 * shape.layers * shape.layer_matrices


def test_a_shape_counts_the_parameters_of_smollm2() -> None:
    shape = of_config(SMOLLM2)
    assert shape is not None
    assert shape.parameters == pytest.approx(134_515_008, rel=1e-3)
    assert training.adapter_parameters(shape, 16) == 4_884_480
