"""Runs and answers of this machine, predicted from those that it has made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.estimate.shape import Shape
from modelyard.plan.own import SPREAD, Work, memory, predict
from modelyard.plan.speeds import Measured
from modelyard.plan.speeds import predict as step_s
from modelyard.plan.standing import Tuned, parameters_of

SMOL = Shape(30, 576, 1536, 9, 3, 64, 49152, tied=True)
RAN = Tuned("made-1", 20_000, 400.0, 70.0, whole=False, roof_share=0.5)
DONE = Work(SMOL, 16, 20_000, labels=0.04, seen=60)


def test_the_same_run_takes_as_long_again() -> None:
    found = predict(RAN, DONE, DONE)
    assert found.seconds.value == pytest.approx(70.0)
    assert found.seconds.high == pytest.approx(70.0 * SPREAD)
    assert "made-1" in found.basis


@given(st.floats(1.1, 20))
def test_more_tokens_take_longer_by_their_loop_alone(more: float) -> None:
    longer = Work(SMOL, 16, 20_000 * more, 0.04, 60)
    assert predict(RAN, DONE, longer).seconds.value == pytest.approx(20 + 50 * more)


def test_all_weights_text_and_higher_ranks_take_longer_and_fewer_layers_less() -> None:
    def seconds(**changed: object) -> float:
        told = {"shape": SMOL, "rank": 16, "tokens": 20_000.0, "labels": 0.04, "seen": 60.0} | changed
        return predict(RAN, DONE, Work(**told)).seconds.value  # type: ignore[arg-type]

    plain = seconds()
    assert seconds(rank=None) > plain
    assert seconds(rank=64) > plain > seconds(rank=4)
    assert seconds(labels=1.0) > plain
    half = Shape(15, 576, 1536, 9, 3, 64, 49152, tied=True)
    assert plain / 2 < seconds(shape=half) < 0.6 * plain


def test_an_optimizer_that_steps_all_weights_seldom_takes_less() -> None:
    def seconds(rank: int | None, batch_tokens: int) -> float:
        return predict(RAN, DONE, Work(SMOL, rank, 20_000, 0.04, 60, batch_tokens)).seconds.value

    assert seconds(None, 512) > 1.05 * seconds(None, 4096)
    assert seconds(16, 512) == pytest.approx(seconds(16, 4096), rel=0.02)


def test_all_weights_write_larger_checkpoints_however_short_the_run_is() -> None:
    def seconds(rank: int | None) -> float:
        return predict(RAN, DONE, Work(SMOL, rank, 1, 0.04, 60)).seconds.value

    assert seconds(16) == pytest.approx(20, rel=0.01)
    assert 5 < seconds(None) - seconds(16) < 30


def test_memory_is_told_by_term_and_all_weights_take_more() -> None:
    adapters, whole = memory(DONE), memory(Work(SMOL, None, 20_000, 0.04, 60))
    assert sum(whole.values()) > sum(adapters.values()) > 1
    assert set(adapters) >= {"weights", "gradients", "optimizer", "activations"}


ROWS = [
    Measured("fast", "gguf", "F16", 260, 0.015),
    Measured("fast", "gguf", "Q8_0", 140, 0.011),
    Measured("slow", "onnx", "int8", 260, 0.030),
]


def test_a_file_between_two_that_were_measured_lies_between_them() -> None:
    found = step_s(ROWS, "fast", "gguf", 200)
    assert 0.011 < found.value < 0.015
    assert found.low < found.value < found.high


def test_an_engine_keeps_its_own_level_and_what_is_unknown_is_wider() -> None:
    slow, fast = (step_s(ROWS, name, kind, 260) for name, kind in (("slow", "onnx"), ("fast", "gguf")))
    assert slow.value > 1.5 * fast.value
    new = step_s(ROWS, "other", "tflite", 260)
    assert new.high / new.low > slow.high / slow.low


@given(st.floats(10, 5000))
def test_a_larger_file_is_never_faster(size: float) -> None:
    small, large = (step_s(ROWS, "fast", "gguf", one).value for one in (size, 1.5 * size))
    assert large >= small


@pytest.mark.parametrize(
    ("base", "size"),
    [
        ("smollm2-135m-instruct", 135e6),
        ("Qwen/Qwen3-0.6B", 0.6e9),
        ("meta-llama/Llama-3.1-8B-Instruct", 8e9),
        ("my/folder", None),
        ("v2b", None),
    ],
)
def test_a_bases_name_tells_its_size_or_nothing(base: str, size: float | None) -> None:
    assert parameters_of(base) == size
