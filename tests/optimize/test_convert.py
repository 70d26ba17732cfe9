"""A model becomes a file that says and holds what the model does, or an error says why not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tests.optimize.stage import GGUF_TYPES, convert
from tests.tiny import tiny_model, tiny_qwen2

from modelyard.engines import gguf_file
from modelyard.errors import NoRoom, SourceError
from modelyard.optimize import gguf_write
from modelyard.optimize.weights import Weights

# Root mean square error of a tensor over its own root mean square: a step of 1/127 or 1/8 of the largest
# number in a block of 32 normal ones, about 2.1 standard deviations.
ERRORS = {"F16": 0.0005, "Q8_0": 0.007, "Q5_1": 0.06, "Q5_0": 0.06, "Q4_1": 0.12, "Q4_0": 0.12}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "model", 3)


def change(folder: Path, name: str, **values: Any) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")


def change_weights(folder: Path, edit: Callable[[dict[str, np.ndarray]], Any]) -> None:
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize("kind", GGUF_TYPES)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_the_file_holds_the_models_numbers_in_its_own_order(tmp_path: Path, kind: str, tied: bool) -> None:
    model = tiny_model(tmp_path / "model", 5, tied=tied, heads=4, kv_heads=2, layers=3)
    convert(model, tmp_path / "work", kind)
    found = gguf_file.state_dict(tmp_path / "work/out/model.gguf")
    right = load_file(model / "model.safetensors")
    assert found.keys() - {"lm_head.weight"} == right.keys() - {"lm_head.weight"}
    for name, value in right.items():
        error = np.sqrt(np.square(found[name].numpy() - value).mean() / np.square(value).mean())
        assert error <= (0 if value.ndim == 1 else ERRORS[kind]), name


def test_the_record_has_the_files_of_a_candidate(model: Path, tmp_path: Path) -> None:
    output = convert(model, tmp_path / "work", "Q4_0")
    out = tmp_path / "work/out"
    assert {path.name for path in out.iterdir()} == {
        "model.gguf",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "config.json",
        "base.json",
        "recipe.json",
    }
    assert json.loads((out / "recipe.json").read_text("utf-8")) == {
        "format": "gguf",
        "type": "Q4_0",
        "model": "d" * 64,
    }
    size = output.facts["candidate.size_mib"].value
    assert size == pytest.approx((out / "model.gguf").stat().st_size / 2**20)
    told = {choice.name: choice.value for choice in output.choices}
    assert told == {"tensor types": "5 F32, 14 Q4_0, 1 Q8_0", "head type": "Q8_0"}


def test_the_same_model_gives_the_same_bytes(model: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        convert(model, tmp_path / name, "Q8_0")
    for path in (tmp_path / "a/out").iterdir():
        assert path.read_bytes() == (tmp_path / "b/out" / path.name).read_bytes()


def test_rows_that_do_not_fit_a_block_stay_in_f16_and_are_counted(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model", 0, intermediate=144)
    told = {c.name: c for c in convert(model, tmp_path / "work", "Q4_0").choices}
    assert told["tensors left in F16"].value == "2"
    assert "ffn_down" in told["tensors left in F16"].why
    kinds = {n: t.type for n, t in gguf_file.header(tmp_path / "work/out/model.gguf").tensors.items()}
    assert kinds["blk.0.ffn_down.weight"] == "F16"
    assert kinds["blk.0.ffn_up.weight"] == "Q4_0"


def test_shards_and_bf16_give_the_same_file_as_one_float32(model: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file as load
    from safetensors.torch import save_file as save

    weights = {name: value.to(torch.bfloat16) for name, value in load(model / "model.safetensors").items()}
    names = sorted(weights)
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    shards = tmp_path / "shards"
    shutil.copytree(model, shards)
    (shards / "model.safetensors").unlink()
    for shard, part in halves.items():
        save({name: weights[name] for name in part}, shards / shard)
    where = {name: shard for shard, part in halves.items() for name in part}
    (shards / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}), "utf-8")
    save({name: value.float() for name, value in weights.items()}, model / "model.safetensors")
    assert Weights(shards).keys() == Weights(model).keys()
    convert(shards, tmp_path / "a", "Q8_0")
    convert(model, tmp_path / "b", "Q8_0")
    same = [(tmp_path / name / "out/model.gguf").read_bytes() for name in ("a", "b")]
    assert same[0] == same[1]


def test_qwen2_with_its_biases_runs_in_torch_as_the_model_does(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from modelyard.engines.torch_engine import load

    model = tiny_qwen2(tmp_path / "model", 1)
    right = transformers.Qwen2ForCausalLM.from_pretrained(model).eval()
    convert(model, tmp_path / "work", "F16")
    ids = torch.tensor([[1, 85, 91, 286, 71]])
    with torch.inference_mode():
        mine = load(tmp_path / "work/out/model.gguf")(ids).logits
        assert (mine - right(ids).logits).abs().max() < 0.01


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda f: change(f, "config.json", architectures=["GPT2LMHeadModel"]), "LlamaForCausalLM"),
        (
            lambda f: change(f, "config.json", rope_parameters={"rope_type": "llama3", "rope_theta": 5e5}),
            "rope",
        ),
        (lambda f: change(f, "config.json", hidden_act="gelu"), "gelu"),
        (lambda f: change(f, "config.json", attention_bias=True), "biases"),
        (lambda f: change(f, "config.json", vocab_size=300), "tokenizer has a token"),
        (lambda f: change(f, "config.json", hidden_size="many"), "cannot be read"),
        (lambda f: change(f, "config.json", intermediate_size=64), "shape"),
        (lambda f: change(f, "config.json", num_hidden_layers=3), "lack"),
        (lambda f: change(f, "config.json", num_hidden_layers=1), "too many"),
        (lambda f: (f / "config.json").write_text("{", "utf-8"), "config.json"),
        (lambda f: (f / "base.json").unlink(), "base.json"),
        (lambda f: (f / "chat_template.jinja").unlink(), "chat_template.jinja"),
        (lambda f: change(f, "tokenizer_config.json", eos_token=None), "end-of-answer"),
        (lambda f: change(f, "tokenizer.json", pre_tokenizer={"type": "Whitespace"}), "Whitespace"),
        (lambda f: change(f, "tokenizer.json", model={"type": "WordPiece"}), "tokenizer"),
        (lambda f: (f / "tokenizer.json").write_text("[]", "utf-8"), "tokenizer"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x80\x02ctorch"), "damaged"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "pickle"),
        (lambda f: (f / "model.safetensors").unlink(), "no model.safetensors"),
        (lambda f: change_weights(f, lambda w: w["model.norm.weight"].fill(np.nan)), "not finite"),
        (lambda f: change_weights(f, lambda w: w["model.embed_tokens.weight"].fill(1e6)), "largest of F16"),
        (lambda f: change_weights(f, lambda w: w.update(extra=np.ones(3, np.float32))), "extra"),
        (lambda f: change_weights(f, lambda w: w.update({"a": np.ones((2, 2), np.int8)})), "type I8"),
    ],
)
def test_what_the_file_could_not_carry_is_refused_and_named(
    model: Path, tmp_path: Path, edit: Callable[[Path], Any], says: str
) -> None:
    edit(model)
    with pytest.raises(SourceError, match=says):
        convert(model, tmp_path / "work", "F16")


@pytest.mark.parametrize("keep", [0, 7, 100, 2000, -1])
def test_truncated_weights_are_refused(model: Path, tmp_path: Path, keep: int) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(SourceError, match="damaged"):
        convert(model, tmp_path / "work", "Q8_0")


def test_a_full_disk_is_told_before_the_file_is_begun(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(gguf_write.shutil, "disk_usage", lambda path: usage._replace(free=1 << 20))
    with pytest.raises(NoRoom, match="1 are free"):
        convert(model, tmp_path / "work", "F16")
    assert not (tmp_path / "work/out/model.gguf").exists()


@pytest.mark.parametrize("kind", ["onnx int4", "openvino int8"])
def test_a_model_that_a_converter_cannot_take_is_not_made_and_says_why(kind: str, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model")
    change(model, "config.json", architectures=["NewForCausalLM"], model_type="brand_new")
    output = convert(model, tmp_path / "work", kind)
    fact = output.facts["candidate.size_mib"]
    assert fact.value is None
    assert fact.why.startswith("not made: ")
    assert output.provisional == fact.why
    assert not (tmp_path / "work/out/model").exists()
