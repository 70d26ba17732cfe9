"""Is the file this model? Faults are put into what is converted; the file is held against the right model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tests.optimize.stage import FOLDERS, GGUF_TYPES, LITERT
from tests.tiny import tiny_model, tiny_qwen2

from modelyard.engines import missing, model_path
from modelyard.verify import identity, weights

Convert = Callable[..., Path]


def edit(name: str, change: Callable[[Any], None]) -> Callable[[Path], None]:
    """A fault in a JSON file of the model."""

    def fault(folder: Path) -> None:
        value = json.loads((folder / name).read_text("utf-8"))
        change(value)
        (folder / name).write_text(json.dumps(value), "utf-8")

    return fault


def numbers(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """A fault in the weights."""

    def fault(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return fault


def swap_merges(tokenizer: Any) -> None:
    merges = tokenizer["model"]["merges"]
    merges[3], merges[4] = merges[4], merges[3]


def swap_tokens(tokenizer: Any) -> None:
    vocabulary = tokenizer["model"]["vocab"]
    a, b = list(vocabulary)[10:12]
    vocabulary[a], vocabulary[b] = vocabulary[b], vocabulary[a]


def untie(folder: Path) -> None:
    numbers(lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"][::-1].copy()}))(folder)
    edit("config.json", lambda c: c.update(tie_word_embeddings=False))(folder)


def more_words(folder: Path) -> None:
    def longer(tensors: dict[str, Any]) -> None:
        words = tensors["model.embed_tokens.weight"]
        tensors["model.embed_tokens.weight"] = np.concatenate([words, words[:32]])

    numbers(longer)(folder)
    edit("config.json", lambda c: c.update(vocab_size=c["vocab_size"] + 32))(folder)


FAULTS: dict[
    str, tuple[Callable[[Path], None], str, str | tuple[str, ...]]
] = {  # what is said of GGUF, and of a folder
    "rope base": (
        edit("config.json", lambda c: c["rope_parameters"].update(rope_theta=10_000.0)),
        "rope base",
        ("rope base", "rope_parameters"),
    ),
    "eps": (
        edit("config.json", lambda c: c.update(rms_norm_eps=1e-6)),
        "norm eps",
        ("norm eps", "rms_norm_eps"),
    ),
    "context": (
        edit("config.json", lambda c: c.update(max_position_embeddings=512)),
        "context length",
        "config.json is",
    ),
    "tie": (untie, "head is the embedding (tied)", ("head is the embedding", "numbers of lm_head")),
    "vocabulary size": (more_words, "tokens in the vocabulary", "shape of model.embed_tokens.weight"),
    "end token": (
        edit("tokenizer_config.json", lambda c: c.update(eos_token="<|endoftext|>")),
        "eos id",
        "tokenizer_config.json is",
    ),
    "begin token": (
        edit("tokenizer_config.json", lambda c: c.update(bos_token="<|endoftext|>")),
        "bos id",
        "tokenizer_config.json is",
    ),
    "template": (
        lambda f: (f / "chat_template.jinja").write_text("{{ messages }}") and None,
        "chat template",
        "chat_template.jinja is",
    ),
    "merge": (edit("tokenizer.json", swap_merges), "merges", "tokenizer.json is"),
    "token": (edit("tokenizer.json", swap_tokens), "tokens", "tokenizer.json is"),
}

Q, K, GATE, UP = (
    f"model.layers.1.{n}.weight"
    for n in ("self_attn.q_proj", "self_attn.k_proj", "mlp.gate_proj", "mlp.up_proj")
)
OUT = "model.layers.0.self_attn.o_proj.weight"
NUMBERS: dict[str, Callable[[dict[str, Any]], None]] = {
    "transposed": lambda t: t.update({OUT: t[OUT].T.copy()}),
    "swapped": lambda t: t.update({GATE: t[UP], UP: t[GATE]}),
    "rows of k in another order": lambda t: t.update({K: t[K][np.r_[16:32, 0:16]].copy()}),
    "scaled": lambda t: t.update({Q: t[Q] * 1.05}),
    "unmerged adapter": lambda t: t.update(
        {UP: t[UP] + np.random.default_rng(0).normal(0, 0.05, t[UP].shape).astype("f4")}
    ),
    "norm": lambda t: t.update({"model.norm.weight": t["model.norm.weight"] + 1}),
}


def broken(model: Path, folder: Path, fault: Callable[[Path], None]) -> Path:
    """A copy of the model with a fault."""
    shutil.copytree(model, folder)
    fault(folder)
    return folder


# A .tflite takes half a minute to make, in an environment of its own (MODELYARD_ENV).
OWN = [
    pytest.param(kind, marks=[pytest.mark.soak, pytest.mark.skipif(bool(missing("litert")), reason="litert")])
    for kind in LITERT
]
KINDS = (*(f"gguf {kind}" for kind in GGUF_TYPES), *FOLDERS, *OWN)


@pytest.mark.parametrize("kind", ["gguf Q8_0", *FOLDERS, *OWN])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_what_the_file_says_is_a_difference_by_name(
    name: str, kind: str, model: Path, convert: Convert, tmp_path: Path
) -> None:
    fault, of_gguf, of_folder = FAULTS[name]
    candidate = convert(kind, broken(model, tmp_path / "broken", fault))
    what = of_gguf if kind.startswith("gguf") else of_folder
    found = differences(candidate, model)
    if name == "tie":
        found += weights.compare(model_path(candidate), model, kind.partition(" ")[2])
    assert any(row.what.startswith(what) for row in found), found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NUMBERS)
def test_a_fault_in_the_numbers_is_found_in_every_kind_of_file(
    name: str, kind: str, model: Path, convert: Convert, tmp_path: Path
) -> None:
    candidate = convert(kind, broken(model, tmp_path / "broken", numbers(NUMBERS[name])))
    assert differences(candidate, model) == []
    assert weights.compare(model_path(candidate), model, kind.partition(" ")[2])


SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "a head of its own": {"tied": False},
    "shared heads": {"heads": 4, "kv_heads": 2},
    "one layer": {"heads": 4, "kv_heads": 4, "layers": 1},
    "odd sizes": {"hidden": 96, "heads": 3, "kv_heads": 1, "intermediate": 160},
    "other turns": {"rope_theta": 10_000.0, "eps": 1e-6, "seed": 7},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_right_conversion_raises_no_alarm(kind: str, shape: str, convert: Convert, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model", **SHAPES[shape])
    candidate = convert(kind, folder)
    assert differences(candidate, folder) == []
    assert weights.compare(model_path(candidate), folder, kind.partition(" ")[2]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_biases_are_part_of_the_model(kind: str, convert: Convert, tmp_path: Path) -> None:
    folder = tiny_qwen2(tmp_path / "model")
    candidate = convert(kind, folder)
    assert differences(candidate, folder) == []
    assert weights.compare(model_path(candidate), folder, kind.partition(" ")[2]) == []
    bias = "model.layers.1.self_attn.k_proj.bias"
    other = broken(folder, tmp_path / "broken", numbers(lambda t: t.update({bias: t[bias] + 0.1})))
    assert weights.compare(model_path(convert(kind, other)), folder, kind.partition(" ")[2])


def differences(candidate: Path, model: Path) -> list[identity.Difference]:
    return identity.differences(model_path(candidate), model)


def test_a_missing_tensor_is_a_difference(model: Path, convert: Convert, tmp_path: Path) -> None:
    deeper = tiny_model(tmp_path / "model", layers=3)
    found = {row.what for row in differences(convert("F16"), deeper)}
    assert {"layers", "number of tensors", "shape of model.layers.2.mlp.up_proj.weight"} <= found
