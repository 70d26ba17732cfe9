"""Is the folder this model? What its graph implies, or a folder of safetensors says, against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..engines import litert_file, onnx_file, openvino_file
from .identity import Difference, model_json, model_shapes, row, shapes, single

TURNS_OFF = 1e-5  # relative: single precision and a power apart; a wrong rope base is off by a tenth and more
OWN = ("dtype", "torch_dtype")  # of a config: how the numbers are stored


SERVED = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json")


def of_litert(path: Path, folder: Path) -> Iterator[Difference]:
    """Differences between a .tflite file and the model in `folder`: all but the tensors' numbers."""
    told, config = litert_file.told(path), model_json(folder / "config.json")
    _, kv_heads, size = _heads(config)
    yield from _numbers(told, config, size)
    yield from row("head is the embedding (tied)", told["tied"], _tied(config))
    yield from row("weights that its signatures hold differently", told["apart"], [])
    cache = [kv_heads, size]
    for name, inputs in told["signatures"].items():
        keys = {i: shape for i, shape in inputs.items() if i.startswith("kv_cache_k_")}
        yield from row(f"caches of {name}", len(keys), int(config["num_hidden_layers"]))
        found = sorted({(shape[1], shape[3]) for shape in keys.values()})
        yield from row(f"key-value heads and key width of {name}", [list(one) for one in found], [cache])
    yield from _rest(litert_file.state_dict(path), path, folder, tied=told["tied"])


def of_openvino(path: Path, folder: Path) -> Iterator[Difference]:
    """Differences between OpenVINO's graph and the model in `folder`: all but the tensors' numbers."""
    told, config = openvino_file.told(path), model_json(folder / "config.json")
    _, kv_heads, size = _heads(config)
    yield from _numbers(told, config, size)
    yield from row("head is the embedding (tied)", told["tied"], _tied(config))
    yield from row("key-value heads and key width", told["caches"], [(kv_heads, size)])
    yield from _rest(openvino_file.state_dict(path), path, folder, tied=told["tied"])


def of_onnx(path: Path, folder: Path) -> Iterator[Difference]:
    """Differences between a model.onnx and the model in `folder`: all but the tensors' numbers.

    A tied head is a matrix of its own there, rounded by itself.
    """
    told, config = onnx_file.told(path), model_json(folder / "config.json")
    heads, kv_heads, size = _heads(config)
    yield from _numbers(told, config, size)
    yield from row("heads and key-value heads", told["heads"], [(heads, kv_heads)])
    yield from row("width of a head", told["head_width"], size)
    yield from row("scale of attention", told["scales"], [round(size**-0.5, 6)])
    says = told["config"]
    for key, right in (
        ("vocab_size", int(config["vocab_size"])),
        ("context_length", int(config["max_position_embeddings"])),
        ("bos_token_id", config.get("bos_token_id")),
        ("eos_token_id", config.get("eos_token_id")),
    ):
        yield from row(f"{key} of genai_config.json", says.get(key), right)
    yield from _rest(onnx_file.state_dict(path), path, folder, tied=_tied(config))


def of_safetensors(path: Path, folder: Path) -> Iterator[Difference]:
    """Differences between a folder of safetensors and the model in `folder`: all but the tensors' numbers."""
    mine, right = (
        {key: value for key, value in model_json(one / "config.json").items() if key not in OWN}
        for one in (path, folder)
    )
    for key in sorted(mine.keys() | right.keys()):
        yield from row(key, mine.get(key), right.get(key))
    for name in SERVED:  # vLLM reads its own beside the weights, we read those of the candidate
        alike = _same(path.parent / name, folder / name)
        alike = alike and (name == "config.json" or _same(path / name, folder / name))
        yield from row(f"{name} is the model's", alike, True)
    yield from shapes(model_shapes(path), folder, tied=bool(right.get("tie_word_embeddings", False)))


def _heads(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """Heads, key-value heads, and the width of one."""
    heads = int(config["num_attention_heads"])
    size = int(config.get("head_dim") or int(config["hidden_size"]) // heads)
    return heads, int(config.get("num_key_value_heads") or heads), size


def _tied(config: Mapping[str, Any]) -> bool:
    return bool(config.get("tie_word_embeddings", False))


def _numbers(told: Mapping[str, Any], config: Mapping[str, Any], size: int) -> Iterator[Difference]:
    """What every graph tells."""
    yield from row("layers", told["layers"], int(config["num_hidden_layers"]))
    yield from row("norm eps", [single(eps) for eps in told["eps"]], [single(config["rms_norm_eps"])])
    yield from _turns(told["turns"], config, size)


def _rest(weights: Mapping[str, Any], path: Path, folder: Path, *, tied: bool) -> Iterator[Difference]:
    """Shapes of the tensors, and what stands beside the file, where the tokens and the template are read."""
    yield from shapes({name: tuple(one.shape) for name, one in weights.items()}, folder, tied=tied)
    for name in SERVED:
        yield from row(f"{name} is the model's", _same(path.parent / name, folder / name), True)


def _turns(turns: list[float], config: Mapping[str, Any], size: int) -> Iterator[Difference]:
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type") or rope.get("type") or "default"
    base = float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0)
    if kind != "default":
        yield Difference("rope scaling", "cannot be read", kind)
        return
    right = base ** -(np.arange(0, size, 2) / size)
    if len(turns) != len(right) or np.abs(np.array(turns) / right - 1).max() > TURNS_OFF:
        yield Difference("rope base", f"pairs turn by {turns[:3]}", f"{base:g}")


def _same(a: Path, b: Path) -> bool:
    return a.is_file() and b.is_file() and a.read_bytes() == b.read_bytes()


OF = {
    "litert": of_litert,
    "openvino": of_openvino,
    "onnx": of_onnx,
    "safetensors": of_safetensors,
}
