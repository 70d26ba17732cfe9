"""A Hugging Face folder as one GGUF file, tensor by tensor: the memory of one matrix suffices."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, quants

from ..errors import NoRoom, SourceError
from ..records.files import is_full
from .architecture import Architecture
from .settings import FILE_KINDS
from .vocabulary import Vocabulary
from .weights import Array, Weights

# OpenVINO GenAI refuses a file without general.file_type ("unordered_map::at").
TYPES = [kind.removeprefix("gguf ") for kind in FILE_KINDS if kind.startswith("gguf ")]
FILE_TYPES = {kind: LlamaFileType[f"MOSTLY_{kind}"] for kind in TYPES}
QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION in ggml.h: the layout of blocks that gguf.quants writes
BLOCK = 32  # weights that share a scale in every quantised type that we write
HEAD = ("token_embd.weight", "output.weight")
F16_LARGEST = 65504.0
HEADER_ROOM = 16 << 20  # metadata and padding: a vocabulary of 150,000 tokens takes about 8 MB


@dataclass(frozen=True, slots=True)
class Written:
    """How many tensors of the file have which type, and which of them could not take the wanted one."""

    types: dict[str, int]
    head: str
    left_f16: tuple[str, ...]


def write(
    path: Path,
    kind: str,
    architecture: Architecture,
    vocabulary: Vocabulary,
    weights: Weights,
    *,
    name: str,
    tell: Callable[[int, int], None],
) -> Written:
    """Write the file at `path`; `tell(done, total)` counts tensors. Same inputs, same bytes.

    Raises SourceError when tensors are missing, superfluous or misshapen, NoRoom when the disk is full.
    """
    plan = _plan(kind, architecture, weights)
    sizes = {tensor: _bytes(shape, at) for tensor, (_, shape, at) in plan.items()}
    needed = sum(sizes.values()) + HEADER_ROOM
    if (free := shutil.disk_usage(path.parent).free) < needed:
        raise _full(path, f"the file needs {needed >> 20} MiB, {free >> 20} are free")
    writer = GGUFWriter(path, architecture.name)
    _metadata(writer, kind, architecture, vocabulary, name)
    for tensor, (_, shape, at) in plan.items():
        writer.add_tensor_info(tensor, shape, np.dtype(np.float32), sizes[tensor], raw_dtype=at)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for done, (tensor, (source, _, at)) in enumerate(plan.items()):
            tell(done, len(plan))
            writer.write_tensor_data(_encode(_rows(architecture, tensor, weights[source]), at, source))
        writer.flush()
        tell(len(plan), len(plan))
    except OSError as error:
        if is_full(error):
            raise _full(path, "the disk filled up") from None
        raise
    finally:
        writer.close()
    if path.stat().st_size < sum(sizes.values()):
        raise _full(path, "the file came out short")
    head = next(plan[tensor][2].name for tensor in reversed(HEAD) if tensor in plan)
    wanted = GGMLQuantizationType[kind]
    left = tuple(
        tensor
        for tensor, (_, shape, at) in plan.items()
        if len(shape) > 1 and at is GGMLQuantizationType.F16 and wanted is not GGMLQuantizationType.F16
    )
    return Written(dict(Counter(at.name for _, _, at in plan.values())), head, left)


Plan = dict[str, tuple[str, tuple[int, ...], GGMLQuantizationType]]


def _plan(kind: str, architecture: Architecture, weights: Weights) -> Plan:
    """GGUF's tensor name to its source name, shape and type, in the file's order."""
    expected = architecture.expected()
    present = set(weights)
    if architecture.tied:
        present.discard("lm_head.weight")  # some writers store the shared matrix twice
    present = {name for name in present if not name.endswith("rotary_emb.inv_freq")}
    missing, foreign = sorted(expected.keys() - present), sorted(present - expected.keys())
    if missing or foreign:
        detail = f"lack {missing[0]}" if missing else f"hold {foreign[0]}, which has no place in it"
        raise SourceError(
            f"the weights {detail} ({len(missing)} missing, {len(foreign)} too many)",
            try_="weights that belong to this config.json, adapters merged",
        )
    plan: Plan = {}
    for source, shape in expected.items():
        if weights.shape(source) != shape:
            raise SourceError(
                f"the tensor {source} has shape {weights.shape(source)}, config.json implies {shape}"
            )
        tensor = architecture.tensor(source)
        plan[tensor] = (source, shape, _type(kind, tensor, shape))
    return plan


def _type(kind: str, tensor: str, shape: tuple[int, ...]) -> GGMLQuantizationType:
    if len(shape) == 1:
        return GGMLQuantizationType.F32  # norms and biases: a handful of numbers that scale everything
    if kind == "F16" or shape[-1] % BLOCK:
        return GGMLQuantizationType.F16
    if kind != "Q8_0" and tensor in HEAD:
        # SmolLM2-135M on documentation loses 0.20 nats a token to F16 so, 0.30 with the head in Q4_0 too.
        return GGMLQuantizationType.Q8_0
    return GGMLQuantizationType[kind]


def _rows(architecture: Architecture, tensor: str, value: Array) -> Array:
    """The matrix as llama.cpp wants it: for llama, rows of q and k paired for its rotation."""
    if not architecture.permuted or not tensor.endswith(("attn_q.weight", "attn_k.weight")):
        return value
    heads = architecture.heads if tensor.endswith("attn_q.weight") else architecture.kv_heads
    half = architecture.head_dim // 2
    return value.reshape(heads, 2, half, value.shape[1]).swapaxes(1, 2).reshape(value.shape)


def _encode(value: Array, kind: GGMLQuantizationType, source: str) -> Array:
    if kind is GGMLQuantizationType.F16 and np.abs(value).max(initial=0.0) > F16_LARGEST:
        raise SourceError(f"the tensor {source} holds numbers above {F16_LARGEST:g}, the largest of F16")
    return np.ascontiguousarray(quants.quantize(np.ascontiguousarray(value), kind))


def _bytes(shape: tuple[int, ...], kind: GGMLQuantizationType) -> int:
    return int(np.prod(quants.quant_shape_to_byte_shape(shape, kind), dtype=np.int64))


def _metadata(writer: Any, kind: str, it: Architecture, vocabulary: Vocabulary, name: str) -> None:
    writer.add_type("model")
    writer.add_name(name)
    writer.add_quantization_version(QUANTIZATION_VERSION)
    writer.add_file_type(FILE_TYPES[kind])
    writer.add_block_count(it.layers)
    writer.add_context_length(it.context)
    writer.add_embedding_length(it.hidden)
    writer.add_feed_forward_length(it.intermediate)
    writer.add_head_count(it.heads)
    writer.add_head_count_kv(it.kv_heads)
    writer.add_key_length(it.head_dim)
    writer.add_value_length(it.head_dim)
    writer.add_rope_dimension_count(it.head_dim)
    writer.add_rope_freq_base(it.rope_theta)
    writer.add_layer_norm_rms_eps(it.eps)
    writer.add_vocab_size(it.vocabulary)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    add = {
        "bos": writer.add_bos_token_id,
        "eos": writer.add_eos_token_id,
        "unk": writer.add_unk_token_id,
        "pad": writer.add_pad_token_id,
    }
    for short, token in vocabulary.ids.items():
        add[short](token)
    writer.add_add_bos_token(vocabulary.add_bos)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(vocabulary.template)


def _full(path: Path, why: str) -> NoRoom:
    return NoRoom(f"no room for the model file: {why}", where=str(path.parent), try_="free some disk space")
