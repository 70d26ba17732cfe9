"""How many machines a load needs, and what the parts of the speed amount to."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.estimate.communication import bubble, sent_bytes
from modelyard.estimate.serving import Speed, cache_bytes_per_token, measured, roofline
from modelyard.estimate.shape import Shape
from modelyard.estimate.split import Split
from modelyard.plan.capacity import MOST, Load, machines, most_per_s, simulate

LLAMA = Shape(32, 4096, 11008, 32, 32, 128, 32000, tied=False)
SPEED = Speed(prefill_tps=2000, weights_s=0.01, each_s=0.002)


def test_a_machine_that_hardly_works_answers_as_fast_as_it_can() -> None:
    load = Load(0.001, 100, 10, 10)
    p95, busy = simulate(SPEED, load, 1e-6)
    # 95 of 100 answers of exponential length are at most three times the mean long.
    assert p95 == pytest.approx(0.05 + 10 * 3 * 0.012, rel=0.15)
    assert busy < 0.001


@settings(deadline=None, max_examples=25)
@given(st.floats(0.01, 200), st.floats(1, 500), st.floats(1, 100))
def test_the_fewest_machines_keep_the_limit_and_one_less_does_not(
    rate: float, read: float, written: float
) -> None:
    load = Load(rate, read, written, 3 * (read / 2000 + written * 3 * 0.012))
    found = machines(SPEED, load)
    if found is None:
        return
    assert found.p95_s <= load.p95_s
    assert 0 < found.busy <= 1
    if found.machines > 1:
        each = rate / (found.machines - 1)
        # A simulation of fewer is not smooth to the last percent.
        assert each >= found.most_per_s or simulate(SPEED, load, each)[0] > load.p95_s * 0.9


def test_a_limit_that_one_answer_alone_breaks_has_no_number_of_machines() -> None:
    assert machines(SPEED, Load(1, 100, 100, 0.01)) is None


def test_patient_callers_do_not_make_a_machine_faster() -> None:
    most = most_per_s(SPEED, 100, 100)
    for rate in (1.5, 3.9, 50.0):
        found = machines(SPEED, Load(rate * most, 100, 100, p95_s=600))
        assert found is not None
        assert found.machines > rate
        assert found.p95_s <= 600
    assert machines(SPEED, Load((MOST + 1) * most, 100, 100, 600)) is None


def test_the_last_machines_below_the_most_are_tried() -> None:
    most = most_per_s(SPEED, 100, 100)
    limit, _ = simulate(SPEED, Load(1, 100, 100, 1), 0.65 * most)
    found = machines(SPEED, Load(MOST * 0.6 * most, 100, 100, limit))
    assert found is not None
    assert MOST / 2 < found.machines < MOST
    assert machines(SPEED, Load(MOST * 0.7 * most, 100, 100, limit)) is None  # 0.7 / 0.65 of the most


def test_two_measurements_give_back_themselves() -> None:
    speed = measured(1900, 77, 204)
    assert speed.decode_tps(1) == pytest.approx(77)
    assert speed.decode_tps(8) == pytest.approx(204)


def test_decoding_is_bound_by_memory_for_one_and_by_products_for_many() -> None:
    speed = roofline(LLAMA, bits=16, context=1000, peak_flops=1e15, bytes_per_s=3e12)
    assert 1 / speed.weights_s < 3e12 / (2 * LLAMA.parameters)  # below the rated bandwidth
    assert speed.decode_tps(64) > 10 * speed.decode_tps(1)
    narrow = roofline(LLAMA, bits=4, context=1000, peak_flops=1e15, bytes_per_s=3e12)
    assert narrow.weights_s == pytest.approx(speed.weights_s / 4)


def test_a_mixture_of_experts_reads_a_few_for_one_and_nearly_all_for_many() -> None:
    speed = Speed(1000, weights_s=1.0, each_s=0.0, share=0.1)
    assert speed.step_s(1) == pytest.approx(0.1)
    assert speed.step_s(2) == pytest.approx(0.19)
    assert speed.step_s(100) == pytest.approx(1.0, abs=1e-4)


def test_keys_and_values_are_what_the_shape_says() -> None:
    assert cache_bytes_per_token(LLAMA) == 2 * 32 * 4096 * 2  # half a MiB: known of Llama 7B
    few = Shape(32, 4096, 14336, 32, 8, 128, 128256, tied=False)
    assert cache_bytes_per_token(few) == cache_bytes_per_token(LLAMA) / 4


def test_traffic_of_each_layout_is_its_formula() -> None:
    own = 2 * LLAMA.parameters
    assert sent_bytes(LLAMA, Split(), 8, 2048) == {"gradients": pytest.approx(2 * 7 / 8 * own)}
    assert sent_bytes(LLAMA, Split(8), 8, 2048) == {"sharded weights": pytest.approx(3 * 7 / 8 * own)}
    tensor = sent_bytes(LLAMA, Split(tensor=4), 1, 2048)
    assert tensor == {"tensor parallel": pytest.approx(3 / 4 * 2 * 4 * 32 * 2 * 4096 * 2048)}
    assert sent_bytes(LLAMA, Split(), 1, 2048) == {}
    assert set(sent_bytes(LLAMA, Split(pipeline=2, context=2), 1, 2048)) == {"pipeline", "context parallel"}


def test_a_pipeline_waits_less_with_more_micro_batches() -> None:
    assert bubble(Split(), 8) == 0
    assert bubble(Split(pipeline=4), 3) == pytest.approx(0.5)
    assert bubble(Split(pipeline=4), 30) < 0.1
