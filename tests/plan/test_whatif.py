"""One run before it is paid for: what it takes, what does not divide, what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from modelyard.cli.main import modelyard
from modelyard.errors import NoRoom, ProjectError
from modelyard.plan.devices import find
from modelyard.plan.whatif import Run, devices_of, model_of, number, run


def planned(on: str = "H100:8", model: str = "7B", tokens: float = 3e11, **how: object) -> Run:
    device, devices = devices_of(on)
    return run(model_of(model), tokens, device, devices, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "value"), [("7B", 7e9), ("1.5t", 1.5e12), ("80k", 8e4), ("300e9", 3e11), ("12", 12)]
)
def test_a_count_is_read_as_people_write_it(said: str, value: float) -> None:
    assert number(said) == value


@pytest.mark.parametrize("said", ["", "7X", "-3B", "0", "1.2.3B", "nan", "1e400", "B", "9e30"])
def test_what_is_no_count_is_refused(said: str) -> None:
    with pytest.raises(ProjectError, match="no count"):
        number(said)


def test_a_size_without_its_letter_is_named() -> None:
    with pytest.raises(ProjectError, match="7 parameters are no language model"):
        model_of("7")


def test_adapters_of_a_large_model_learn_on_eight_devices_that_one_could_not_hold() -> None:
    found = planned(model="70B", tokens=1e8, on="A100-80GB:8", method="lora")
    assert found.split.shards == 8
    assert sum(found.memory_gib.values()) < 80
    assert found.sent_gib["sharded weights"] > 200  # twice the base, for its gradients are not taken
    assert found.sent_gib["sharded weights"] < 245
    small = planned(model="7B", tokens=1e8, on="A100-80GB:8", method="lora")
    assert small.split.shards == 1
    assert small.sent_gib["gradients"] < 0.1  # of the adapters alone
    taught = planned(model="7B", tokens=1e9, on="H100:8", teacher=70e9)
    assert 17 < taught.memory_gib["teacher"] < 25
    assert taught.sent_gib["teacher"] > 100


def test_hours_and_cost_follow_tokens_and_the_interval_holds_the_value() -> None:
    once, twice = planned(), planned(tokens=6e11)
    assert twice.hours.value == pytest.approx(2 * once.hours.value)
    assert once.device_hours.value == pytest.approx(8 * once.hours.value)
    for found in (once.hours, once.cost_usd, once.project_usd, once.energy_kwh):
        assert found is not None
        assert 0 < found.low < found.value < found.high
    assert once.flop == pytest.approx(6 * 7e9 * 3e11, rel=0.15)
    assert sum(once.memory_gib.values()) < 80
    assert any("uncalibrated" in line for line in once.assumed)


def test_a_config_tells_the_shape_that_a_size_leaves_to_guess(tmp_path: Path) -> None:
    config = {
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "vocab_size": 128256,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    told = model_of(str(tmp_path))
    assert not told.guessed
    assert told.parameters == pytest.approx(8.03e9, rel=0.01)
    assert model_of("8B").guessed


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_config_of_no_decoder_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ProjectError):
        model_of(str(path))


def test_a_path_without_a_config_is_told_as_one(tmp_path: Path) -> None:
    for text in (str(tmp_path / "none"), str(tmp_path), "config.json"):
        with pytest.raises(ProjectError, match="no such configuration"):
            model_of(text)


@pytest.mark.parametrize(
    ("on", "layout", "says"),
    [
        ("H100:12", "TP8", "do not divide by TP8"),
        ("H100:6", "TP6", "heads do not divide"),
        ("H100:64", "PP64", "layers are fewer"),
        ("H100:8", "FSDP16", "leave 8 for FSDP"),
        ("H100:8", "sideways", "names no layout"),
    ],
)
def test_a_layout_that_cannot_be_says_what_does_not_divide(on: str, layout: str, says: str) -> None:
    with pytest.raises(ProjectError, match=says) as refused:
        planned(on, layout=layout)
    assert refused.value.try_


def test_a_run_that_does_not_fit_names_its_largest_part_and_what_to_change() -> None:
    with pytest.raises(NoRoom, match="weights, gradients, optimizer") as refused:
        planned("A100:8", "70B")
    assert refused.value.try_
    with pytest.raises(NoRoom):
        planned("RTX 4090", "13B", method="lora")
    assert sum(planned("RTX 4090", "13B", method="qlora").memory_gib.values()) < 24


def test_recomputing_is_taken_only_where_nothing_else_fits() -> None:
    assert planned("H100", "7B", method="lora").recompute == "none"
    assert planned("RTX 4090", "7B", method="lora").recompute == "full"


def test_goodput_is_all_on_one_node_and_less_on_many() -> None:
    assert planned("H100:8", layout="FSDP8").goodput == pytest.approx(1)
    assert 0.6 < planned("H100:128", layout="FSDP128").goodput < 0.9


def test_more_devices_split_what_one_cannot_hold() -> None:
    found = planned("A100:64", "30B")
    assert found.split.shards == 64
    assert sum(found.memory_gib.values()) < 80


@pytest.mark.parametrize("on", ["Z100:8", "H100:0", "H100:x", "H100:-1", ":8", ""])
def test_an_unknown_device_or_number_is_refused(on: str) -> None:
    with pytest.raises(ProjectError):
        devices_of(on)


def test_a_device_without_a_price_has_no_cost_and_says_so() -> None:
    device = find("MI300X")
    assert device is not None
    assert device.rent_usd_per_hour is None
    found = planned("MI300X:8")
    assert found.cost_usd is None
    assert any("no price" in line for line in found.assumed)


@given(st.floats(1e8, 5e10), st.integers(1, 9))
def test_a_larger_model_takes_longer_and_never_less_memory(size: float, power: int) -> None:
    devices = f"H200:{2**power * 8}"
    small, large = (planned(devices, f"{one:.0f}") for one in (size, 1.5 * size))
    assert large.hours.value > small.hours.value
    if small.split == large.split and small.recompute == large.recompute:
        assert sum(large.memory_gib.values()) > sum(small.memory_gib.values())


def test_the_verb_tells_the_plan_as_a_table_and_as_json() -> None:
    asked = ["plan", "--model", "7B", "--tokens", "300B", "--on", "H100:8"]
    done = CliRunner().invoke(modelyard, [*asked, "--json"])
    told = json.loads(done.output.splitlines()[-1])["result"]
    assert told["hours"]["low"] < told["hours"]["value"] < told["hours"]["high"]
    assert told["memory_gib"]["all"] < told["memory_gib"]["the device has"]
    page = CliRunner().invoke(modelyard, asked).output
    assert "8 x H100" in page
    assert "uncalibrated" in page
    lacking = CliRunner().invoke(modelyard, ["plan", "--model", "7B", "--json"])
    assert lacking.exit_code == 2
    assert "--tokens, --on" in json.loads(lacking.output.splitlines()[-1])["error"]["what"]
