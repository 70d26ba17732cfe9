"""Is the file this model? Its own metadata and tensors against the model's folder, every difference a row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SourceError

CONTROL = 3  # llama.cpp's llama_token_type of special tokens: never shown, ends or opens a turn

# What llama.cpp takes where the file says nothing (llama.cpp, src/llama-model.cpp, load_hparams).
ROPE_BASE = 10_000.0

SHOWN = 3  # of a list that differs at many places, so many are shown


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that the file and the model tell differently; None: it is not told at all."""

    what: str
    file: Any
    model: Any


def differences(path: Path, folder: Path) -> list[Difference]:
    """Differences between a candidate's file or folder and the model in `folder`, all but the numbers.

    Raises SourceError when either cannot be read.
    """
    from ..engines import gguf_file
    from ..engines.menu import kind

    if path.is_dir():
        from . import folders

        return list(folders.OF[kind(path)](path, folder))

    header = gguf_file.header(path)
    metadata, config = header.metadata, model_json(folder / "config.json")
    tensors = {_hf_name(name): tensor.shape for name, tensor in header.tensors.items()}
    return [
        *_numbers(metadata, config),
        *_head(tensors, config),
        *_special(metadata, folder),
        *_template(metadata, folder),
        *_vocabulary(metadata, folder, int(config["vocab_size"])),
        *shapes(tensors, folder, tied=bool(config.get("tie_word_embeddings", False))),
    ]


def _hf_name(name: str) -> str:
    """A tensor's name in Hugging Face's code; one without keeps its own, and so is a difference."""
    from ..engines.gguf_file import LAYER, OUTER

    block, _, rest = name.removeprefix("blk.").partition(".")
    if name.startswith("blk.") and rest in LAYER:
        return f"model.layers.{block}.{LAYER[rest]}"
    return OUTER.get(name, name)


def _numbers(metadata: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[Difference]:
    family = metadata.get("general.architecture")
    yield from row("architecture", family, config.get("model_type"))
    if "general.file_type" not in metadata:  # OpenVINO GenAI refuses the file with `unordered_map::at`
        yield Difference("file type is told", None, "general.file_type")

    def told(name: str, otherwise: Any = None) -> Any:
        return metadata.get(f"{family}.{name}", otherwise)

    heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
    size = int(config.get("head_dim") or hidden // heads)
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = rope.get("rope_theta") or config.get("rope_theta") or ROPE_BASE
    file_heads = told("attention.head_count")
    file_size = told(
        "rope.dimension_count", (told("embedding_length") or 0) // file_heads if file_heads else None
    )
    yield from row("layers", told("block_count"), int(config["num_hidden_layers"]))
    yield from row("hidden width", told("embedding_length"), hidden)
    yield from row("feed-forward width", told("feed_forward_length"), int(config["intermediate_size"]))
    yield from row("heads", file_heads, heads)
    yield from row(
        "key-value heads",
        told("attention.head_count_kv", file_heads),
        int(config.get("num_key_value_heads") or heads),
    )
    yield from row("rotated part of a head", file_size, size)
    yield from row("key width of a head", told("attention.key_length", file_size), size)
    yield from row("value width of a head", told("attention.value_length", file_size), size)
    yield from row("context length", told("context_length"), int(config["max_position_embeddings"]))
    yield from row("rope base", single(told("rope.freq_base", ROPE_BASE)), single(theta))
    yield from row(
        "norm eps", single(told("attention.layer_norm_rms_epsilon")), single(config["rms_norm_eps"])
    )
    kind = rope.get("rope_type") or rope.get("type") or "default"
    yield from row("rope scaling", told("rope.scaling.type", "none"), "none" if kind == "default" else kind)
    yield from row(
        "rope scaling factor", single(told("rope.scaling.factor", 1.0)), single(rope.get("factor", 1.0))
    )
    yield from row(
        "vocabulary size", told("vocab_size", int(config["vocab_size"])), int(config["vocab_size"])
    )


def _head(tensors: Mapping[str, Sequence[int]], config: Mapping[str, Any]) -> Iterator[Difference]:
    tied = bool(config.get("tie_word_embeddings", False))
    yield from row("head is the embedding (tied)", "lm_head.weight" not in tensors, tied)


def _special(metadata: Mapping[str, Any], folder: Path) -> Iterator[Difference]:
    config = model_json(folder / "tokenizer_config.json")
    ids = {
        token["content"]: token["id"]
        for token in model_json(folder / "tokenizer.json").get("added_tokens", ())
    }
    vocabulary = model_json(folder / "tokenizer.json")["model"]["vocab"]
    for short, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        token = config.get(f"{short}_token")
        text = token["content"] if isinstance(token, dict) else token
        right = ids.get(text, vocabulary.get(text)) if text else None
        yield from row(f"{short} id", metadata.get(f"tokenizer.ggml.{key}_token_id"), right)
    if config.get("add_bos_token") is not None:
        told = metadata.get("tokenizer.ggml.add_bos_token", False)
        yield from row("a begin token is added", bool(told), bool(config["add_bos_token"]))


def _template(metadata: Mapping[str, Any], folder: Path) -> Iterator[Difference]:
    path = folder / "chat_template.jinja"
    right = path.read_text("utf-8") if path.is_file() else None
    yield from row("chat template", metadata.get("tokenizer.chat_template"), right)


def _vocabulary(metadata: Mapping[str, Any], folder: Path, size: int) -> Iterator[Difference]:
    tokenizer = model_json(folder / "tokenizer.json")
    entries = [(text, at, False) for text, at in tokenizer["model"]["vocab"].items()]
    entries += [(t["content"], t["id"], bool(t.get("special"))) for t in tokenizer.get("added_tokens", ())]
    tokens: list[str] = list(metadata.get("tokenizer.ggml.tokens") or ())
    types: list[int] = [int(kind) for kind in metadata.get("tokenizer.ggml.token_type") or ()]
    yield from row("tokens in the vocabulary", len(tokens), size)
    wrong = [(at, text) for text, at, _ in entries if at >= len(tokens) or tokens[at] != text]
    if wrong:
        yield Difference(
            f"tokens ({len(wrong)} of {len(entries)} differ)",
            {str(at): tokens[at] if at < len(tokens) else None for at, _ in sorted(wrong)[:SHOWN]},
            {str(at): text for at, text in sorted(wrong)[:SHOWN]},
        )
    shown = sorted(at for _, at, special in entries if special and at < len(types) and types[at] != CONTROL)
    if shown or not types:
        yield Difference("special tokens marked as such", shown[:SHOWN] if types else None, "every one")
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"].get("merges") or ()]
    told: list[str] = list(metadata.get("tokenizer.ggml.merges") or ())
    if told != merges:
        at = next(
            (i for i, (a, b) in enumerate(zip(told, merges, strict=False)) if a != b),
            min(len(told), len(merges)),
        )
        yield Difference(
            f"merges ({len(told)} in the file, {len(merges)} in the model; first difference at {at})",
            told[at : at + SHOWN],
            merges[at : at + SHOWN],
        )


def shapes(tensors: Mapping[str, Sequence[int]], folder: Path, *, tied: bool) -> Iterator[Difference]:
    """Names and shapes of tensors, under Hugging Face's names, that are not the model's."""
    right = {
        name: shape for name, shape in model_shapes(folder).items() if not (tied and name == "lm_head.weight")
    }
    mine = {name: tuple(shape) for name, shape in tensors.items() if name != "lm_head.weight" or not tied}
    yield from row("number of tensors", len(mine), len(right))
    for name in sorted(set(mine) | set(right)):
        a, b = mine.get(name), right.get(name)
        yield from row(f"shape of {name}", list(a) if a else None, list(b) if b else None)


def model_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a folder of safetensors; the weights are not read."""
    from safetensors import safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for path in weight_files(folder):
        with safe_open(path, framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a mapping
                if name.endswith("rotary_emb.inv_freq"):  # computed from the rope base, not learnt
                    continue
                shapes[name] = tuple(int(n) for n in tensors.get_slice(name).get_shape())
    return shapes


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model's folder. Raises SourceError when there is none."""
    found = sorted(folder.glob("model*.safetensors"))
    if not found:
        raise SourceError("the model's folder has no model.safetensors", where=str(folder))
    return found


def row(what: str, file: Any, model: Any) -> Iterator[Difference]:
    """The difference of two values, if there is one."""
    if file != model:
        yield Difference(what, file, model)


def single(number: Any) -> float | None:
    """The number as GGUF stores it, in single precision: 1e-05 is written as 9.99999974e-06."""
    return None if number is None else float(np.float32(number))


def model_json(path: Path) -> dict[str, Any]:
    """A JSON object of a model's folder. Raises SourceError when it cannot be read."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise SourceError(f"the model has no {path.name}", where=str(path.parent)) from None
    except ValueError as error:
        raise SourceError(f"{path.name} is not JSON: {error}", where=str(path)) from None
    if not isinstance(value, dict):
        raise SourceError(f"{path.name} holds no object", where=str(path))
    return value
