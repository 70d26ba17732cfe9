"""A GGUF file read back: its metadata, its dequantised weights, the config that both imply.

The header is read here rather than by the `gguf` package: no torch and no numpy for it, and every
length is checked against the file, so that a truncated or foreign file is told, not trusted.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..errors import SourceError, need

if TYPE_CHECKING:
    import numpy as np
    import torch

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = 32  # unless general.alignment says otherwise
STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
# ggml_type -> name, weights in a block, bytes of a block (ggml-common.h): what we write or may meet.
TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    30: ("BF16", 1, 2),
}
DIMENSIONS_LIMIT = 4  # GGML_MAX_DIMS

LAYER = {
    "attn_norm.weight": "input_layernorm.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
    "attn_q.bias": "self_attn.q_proj.bias",
    "attn_k.bias": "self_attn.k_proj.bias",
    "attn_v.bias": "self_attn.v_proj.bias",
}
OUTER = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
MODELS = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor lies. `shape` has the rows first, as in torch; `offset` is from the file's start."""

    type: str
    shape: tuple[int, ...]
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Header:
    """All that a GGUF file says before its numbers."""

    metadata: dict[str, Any]
    tensors: dict[str, Tensor]


def metadata(path: Path) -> dict[str, Any]:
    """The file's key-value pairs. Raises SourceError for a truncated, damaged or foreign file."""
    return header(path).metadata


def header(path: Path) -> Header:
    """Metadata and places of the tensors, all checked to lie in the file.

    Raises SourceError for a truncated, damaged or foreign file.
    """
    try:
        with path.open("rb") as stream:
            return _Reader(stream, path).header()
    except (struct.error, UnicodeDecodeError, OverflowError, MemoryError):
        raise _damaged(path, "its header cannot be read") from None
    except (FileNotFoundError, IsADirectoryError):
        raise SourceError("there is no model file", where=str(path)) from None


def config(path: Path) -> dict[str, Any]:
    """A Hugging Face config made of what the file itself says: heads, rope base, eps, special ids, tie.

    Raises SourceError when a number is missing or the architecture is not one that we run.
    """
    return _config(header(path), path)


def state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The weights as float32 under Hugging Face's names, dequantised, q and k in Hugging Face's order."""
    from_numpy = need("torch", extra="train", for_="reading a file's weights").from_numpy
    found = header(path)
    numbers = _config(found, path)
    weights: dict[str, torch.Tensor] = {}
    for name, tensor in found.tensors.items():
        value = _read(path, tensor)
        if numbers["model_type"] == "llama" and name.endswith(("attn_q.weight", "attn_k.weight")):
            heads = numbers["num_attention_heads" if "attn_q" in name else "num_key_value_heads"]
            half = numbers["head_dim"] // 2
            value = value.reshape(heads, half, 2, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
        weights[_name(name, path)] = from_numpy(value.copy() if value.base is not None else value)
    if numbers["tie_word_embeddings"]:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    return weights


class _Reader:
    """Little-endian values off a stream; no length is believed that the file could not hold."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self.stream = stream
        self.path = path
        self.size = path.stat().st_size

    def header(self) -> Header:
        if self.stream.read(4) != MAGIC:
            raise SourceError(
                "this is not a GGUF file",
                where=str(self.path),
                try_="the model.gguf that `modelyard up` wrote, or convert the model again",
            )
        version = self.number("I")
        if version not in VERSIONS:
            raise SourceError(f"this GGUF file is of version {version}, not 2 or 3", where=str(self.path))
        tensors, pairs = self.number("Q"), self.number("Q")
        self.fits(tensors * 24 + pairs * 13)  # the least that an entry of each kind takes
        meta = {}
        for _ in range(pairs):
            key = self.string()
            meta[key] = self.value(self.number("I"))
        entries = [self.entry() for _ in range(tensors)]
        alignment = meta.get("general.alignment", ALIGNMENT)
        if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
            raise _damaged(self.path, "its alignment makes no sense")
        start = -(-self.stream.tell() // alignment) * alignment
        found = {}
        for name, kind, shape, offset in entries:
            if kind not in TYPES:
                raise SourceError(f"the tensor {name} is of an unknown type ({kind})", where=str(self.path))
            label, block, size = TYPES[kind]
            if not shape or shape[-1] % block:
                raise _damaged(self.path, f"the tensor {name} has a width that its type cannot have")
            length = prod(shape) // block * size
            if start + offset + length > self.size:
                raise _damaged(self.path, f"it is cut short before the end of the tensor {name}")
            found[name] = Tensor(label, shape, start + offset, length)
        return Header(meta, found)

    def entry(self) -> tuple[str, int, tuple[int, ...], int]:
        name = self.string()
        count = self.number("I")
        if count > DIMENSIONS_LIMIT:
            raise _damaged(self.path, f"the tensor {name} has {count} dimensions")
        shape = tuple(self.number("Q") for _ in range(count))[::-1]
        return name, self.number("I"), shape, self.number("Q")

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            inner, count = self.number("I"), self.number("Q")
            if inner == STRING:
                self.fits(count * 8)
                return [self.string() for _ in range(count)]
            form = self.form(inner)
            raw = self.bytes(count * struct.calcsize("<" + form))
            return list(struct.unpack(f"<{count}{form}", raw))
        return self.number(self.form(kind))

    def form(self, kind: int) -> str:
        if kind not in SCALARS:
            raise _damaged(self.path, f"it has a value of an unknown type ({kind})")
        return SCALARS[kind]

    def number(self, form: str) -> Any:
        return struct.unpack("<" + form, self.bytes(struct.calcsize("<" + form)))[0]

    def string(self) -> str:
        return self.bytes(self.number("Q")).decode("utf-8")

    def bytes(self, count: int) -> bytes:
        self.fits(count)
        return self.stream.read(count)

    def fits(self, count: int) -> None:
        if count > self.size - self.stream.tell():
            raise _damaged(self.path, "it is cut short")


def _config(found: Header, path: Path) -> dict[str, Any]:
    meta = found.metadata
    arch = meta.get("general.architecture")
    if arch not in MODELS:
        raise SourceError(
            f"the file's architecture {arch} cannot be run here", where=str(path), try_=", ".join(MODELS)
        )

    def number(key: str, default: float | None = None) -> Any:
        value = meta.get(f"{arch}.{key}", default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise _damaged(path, f"its {arch}.{key} is {value}")
        return value

    embedding = found.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise _damaged(path, "it has no embedding")
    hidden, heads = number("embedding_length"), number("attention.head_count")
    head_dim = number("attention.key_length", number("rope.dimension_count", hidden // heads))
    if number("rope.dimension_count", head_dim) != head_dim:
        raise SourceError("the file turns only a part of each head", where=str(path))
    ids = {
        f"{short}_token_id": meta.get(f"tokenizer.ggml.{key}_token_id")
        for short, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))
    }
    return {
        "architectures": [MODELS[arch]],
        "model_type": arch,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "hidden_size": hidden,
        "intermediate_size": number("feed_forward_length"),
        "num_hidden_layers": number("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": number("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "max_position_embeddings": number("context_length"),
        "vocab_size": embedding.shape[0],
        # llama.cpp's own default where the file is silent.
        "rope_parameters": {"rope_type": "default", "rope_theta": number("rope.freq_base", 10_000.0)},
        "rms_norm_eps": number("attention.layer_norm_rms_epsilon"),
        "tie_word_embeddings": "output.weight" not in found.tensors,
        "use_cache": True,
        **ids,
    }


def _read(path: Path, tensor: Tensor) -> np.ndarray[Any, Any]:
    """A tensor's numbers as float32."""
    import numpy as np

    rows, width = tensor.shape[:-1], tensor.size // max(1, prod(tensor.shape[:-1]))
    raw = np.fromfile(path, dtype=np.uint8, count=tensor.size, offset=tensor.offset)
    if tensor.type in ("F32", "F16"):
        kind = np.dtype("<f4" if tensor.type == "F32" else "<f2")
        return raw.view(kind).astype(np.float32, copy=False).reshape(tensor.shape)
    need("gguf", extra="train", for_="reading a file's weights")
    from gguf import GGMLQuantizationType, quants

    value = quants.dequantize(raw.reshape(*rows, width), GGMLQuantizationType[tensor.type])
    return np.ascontiguousarray(value, dtype=np.float32).reshape(tensor.shape)


def _name(name: str, path: Path) -> str:
    if name in OUTER:
        return OUTER[name]
    part = name.split(".", 2)
    if len(part) == 3 and part[0] == "blk" and part[1].isdecimal() and part[2] in LAYER:
        return f"model.layers.{int(part[1])}.{LAYER[part[2]]}"
    raise SourceError(f"the tensor {name} has no place in the model", where=str(path))


def _damaged(path: Path, why: str) -> SourceError:
    return SourceError(f"the model file is damaged: {why}", where=str(path), try_="make or copy it again")
