"""The catalogue of devices: names as people write them, numbers that can be right."""

from __future__ import annotations

import pytest

from modelyard.plan.devices import catalogue, find


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("A100-40GB (ABCI)", "A100-40GB"),
        ("8x NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("A100", "A100-80GB"),
        ("A100 40G", "A100-40GB"),
        ("Cloud TPU v3-128", "TPU v3"),
        ("a100_40gb", "A100-40GB"),
        ("h100_80gb", "H100"),
        ("H100-96GB HBM2e 500 W", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("A800-80GB SXM", "A800"),
        ("RTX A6000-48GB", "RTX A6000"),
        ("TPU v4", "TPU v4"),
        ("V100-32GB", "V100"),
        ("NVIDIA A40-48Q", "A40"),
        ("GeForce RTX 5090 32GB", "RTX 5090"),
    ],
)
def test_a_device_is_known_by_what_people_call_it(said: str, name: str) -> None:
    found = find(said)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("said", ["", "GPU", "H1000", "Cerebras CS-2", "100"])
def test_an_unknown_device_is_no_device(said: str) -> None:
    assert find(said) is None


def test_every_row_can_be_right_and_says_where_it_is_from() -> None:
    for device in catalogue().values():
        assert find(device.name) == device, device.name
        assert device.source
        assert 10 < device.tflops_16bit < 10_000
        assert device.memory_gib >= 16
        assert device.tflops_8bit is None or device.tflops_8bit >= 0.99 * device.tflops_16bit
        # A peak takes some tens to hundreds of operations for each byte read: sparse ones would stick out.
        assert 30 < device.tflops_16bit * 1e12 / (device.memory_gb_per_s * 1e9) < 650, device.name
        if device.rent_usd_per_hour:
            low, typical, high = device.rent_usd_per_hour
            assert 0 < low <= typical <= high
            assert device.priced
