"""Is the folder this model? What a .tflite file's graph implies, or a folder of safetensors says, against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..engines import litert_file
from .identity import Difference, model_json, model_shapes, row, shapes, single

TURNS_OFF = 1e-5  # relative: single precision and a power apart; a wrong rope base is off by a tenth and more
OWN = ("dtype", "torch_dtype")  # of a config: how the numbers are stored


def of_litert(path: Path, folder: Path) -> Iterator[Difference]:
    """Differences between a .tflite file and the model in `folder`: all but the tensors' numbers."""
    told, config = litert_file.told(path), model_json(folder / "config.json")
    heads = int(config["num_attention_heads"])
    size = int(config.get("head_dim") or int(config["hidden_size"]) // heads)
    yield from row("layers", told["layers"], int(config["num_hidden_layers"]))
    yield from row(
        "head is the embedding (tied)", told["tied"], bool(config.get("tie_word_embeddings", False))
    )
    yield from row("norm eps", [single(eps) for eps in told["eps"]], [single(config["rms_norm_eps"])])
    yield from _turns(told["turns"], config, size)
    yield from row("weights that its signatures hold differently", told["apart"], [])
    cache = [int(config.get("num_key_value_heads") or heads), size]
    for name, inputs in told["signatures"].items():
        keys = {i: shape for i, shape in inputs.items() if i.startswith("kv_cache_k_")}
        yield from row(f"caches of {name}", len(keys), int(config["num_hidden_layers"]))
        found = sorted({(shape[1], shape[3]) for shape in keys.values()})
        yield from row(f"key-value heads and key width of {name}", [list(one) for one in found], [cache])
    weights = {name: tuple(tensor.shape) for name, tensor in litert_file.state_dict(path).items()}
    yield from shapes(weights, folder, tied=told["tied"])


def of_safetensors(path: Path, folder: Path) -> Iterator[Difference]:
    """Differences between a folder of safetensors and the model in `folder`: all but the tensors' numbers."""
    mine, right = (
        {key: value for key, value in model_json(one / "config.json").items() if key not in OWN}
        for one in (path, folder)
    )
    for key in sorted(mine.keys() | right.keys()):
        yield from row(key, mine.get(key), right.get(key))
    for name in ("tokenizer.json", "chat_template.jinja"):
        yield from row(f"{name} is the model's", _same(path / name, folder / name), True)
    yield from shapes(model_shapes(path), folder, tied=bool(right.get("tie_word_embeddings", False)))


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
