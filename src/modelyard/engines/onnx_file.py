"""A model.onnx of ONNX Runtime GenAI's builder: what it says of its model, and its weights, dequantised."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SourceError, need

if TYPE_CHECKING:
    import torch

FILE = "model.onnx"
NORMS = ("SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization")
NODE = re.compile(r"/model/layers\.(\d+)/(attn|mlp)/(\w+_proj)/(MatMul|Add)\w*")  # the builder's names
PACKED = ("q_proj", "k_proj", "v_proj")  # the rows of qkv_proj, in this order


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in the order in which they run, and the constants that they take, by name."""

    nodes: Sequence[Any]
    values: Mapping[str, Any]

    def of(self, *kinds: str) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Nodes of these kinds, each with its attributes."""
        onnx = need("onnx", extra="convert", for_="reading ONNX")
        for node in self.nodes:
            if node.op_type in kinds:
                yield node, {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}

    def constant(self, node: Any) -> Any | None:
        """The first constant among what a node takes."""
        return next((self.values[name] for name in node.input if name in self.values), None)


def told(folder: Path) -> dict[str, Any]:
    """What the graph says: layers, heads, width of a head, eps, and turns of a head's pairs.

    `config` is genai_config.json's part on the model. Raises SourceError for a file that is not one of ours.
    """
    import numpy

    graph = _load(folder)
    attention = [says for _, says in graph.of("GroupQueryAttention")]
    if not attention or "sin_cache" not in graph.values:
        raise _unknown(folder, "it lacks attention or the turns of a head")
    try:
        config = json.loads((folder / "genai_config.json").read_text("utf-8"))["model"]
    except (OSError, ValueError, KeyError):
        raise _unknown(folder, "genai_config.json is not there, or damaged") from None
    sines = graph.values["sin_cache"]
    return {
        "layers": len(attention),
        "heads": sorted({(one["num_heads"], one["kv_num_heads"]) for one in attention}),
        "head_width": 2 * sines.shape[1],
        "scales": sorted({round(float(one["scale"]), 6) for one in attention}),
        "eps": sorted({float(says["epsilon"]) for _, says in graph.of(*NORMS)}),
        "turns": [float(turn) for turn in numpy.arcsin(sines[1].astype(numpy.float64))],  # all at most 1
        "config": config,
    }


def state_dict(folder: Path) -> dict[str, torch.Tensor]:
    """The weights as float32 under Hugging Face's names, dequantised."""
    torch = need("torch", extra="train", for_="reading a file's weights")
    graph, says = _load(folder), told(folder)
    found = {"model.embed_tokens.weight": _embedding(graph, folder)}
    for node, how in graph.of("MatMulNBits"):
        found |= _named(node.name, _dequantised(graph, node, how), says)
    for node, _ in graph.of("MatMul"):
        if (matrix := graph.constant(node)) is not None:
            found |= _named(node.name, matrix.T, says)
    for node, _ in graph.of("Add"):
        if NODE.fullmatch(node.name):
            found |= _named(node.name, graph.constant(node), says)
    norms = [graph.constant(node) for node, _ in graph.of(*NORMS)]
    for at, norm in enumerate(norms[:-1]):
        kind = ("input_layernorm", "post_attention_layernorm")[at % 2]
        found[f"model.layers.{at // 2}.{kind}.weight"] = norm
    found["model.norm.weight"] = norms[-1]
    return {name: torch.from_numpy(value.copy()) for name, value in found.items()}


def _embedding(graph: Graph, folder: Path) -> Any:
    """The table of tokens; in single precision it is the head's matrix, read the other way round."""
    looked_up = {node.input[0] for node, _ in graph.of("Gather")}
    tables = {name: graph.values[name] for name in looked_up & graph.values.keys()}
    for node, _ in graph.of("Transpose"):
        if node.output[0] in looked_up and (head := graph.constant(node)) is not None:
            tables[node.name] = head.T
    if len(tables) != 1:
        raise _unknown(folder, "it has no table of its tokens")
    return next(iter(tables.values()))


def _named(node: str, value: Any, says: Mapping[str, Any]) -> dict[str, Any]:
    """A node's numbers under Hugging Face's names; q, k and v are one matrix."""
    place = NODE.fullmatch(node)
    if place is None:
        return {"lm_head.weight": value}
    layer, part, projection, kind = place.groups()
    stem = f"model.layers.{layer}.{'self_attn' if part == 'attn' else 'mlp'}."
    what = "weight" if kind == "MatMul" else "bias"
    if projection != "qkv_proj":
        return {f"{stem}{projection}.{what}": value}
    ((heads, kv_heads),) = says["heads"]
    width = says["head_width"]
    ends = (0, heads * width, (heads + kv_heads) * width, (heads + 2 * kv_heads) * width)
    return {
        f"{stem}{name}.{what}": value[start:end]
        for name, start, end in zip(PACKED, ends, ends[1:], strict=False)
    }


def _dequantised(graph: Graph, node: Any, how: Mapping[str, Any]) -> Any:
    """The matrix (N, K) of a MatMulNBits: blocks along K of so many bits, each with a scale.

    https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#commicrosoftmatmulnbits
    """
    import numpy

    rows, columns, bits, block = (int(how[name]) for name in ("N", "K", "bits", "block_size"))
    packed, scales = graph.values[node.input[1]], graph.values[node.input[2]]
    if bits == 4:  # the lower half of a byte comes first
        packed = numpy.stack([packed & 15, packed >> 4], axis=-1)
    whole = packed.reshape(rows, -1, block).astype(numpy.float32) - (1 << (bits - 1))
    scaled = whole * scales.reshape(rows, -1, 1).astype(numpy.float32)
    return scaled.reshape(rows, -1)[:, :columns]


def _load(folder: Path) -> Graph:
    try:
        stat = (folder / f"{FILE}.data").stat()
    except OSError:
        raise _unknown(folder, f"{FILE}.data is not there") from None
    return _loaded(folder, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1)
def _loaded(folder: Path, changed_ns: int, size: int) -> Graph:
    onnx = need("onnx", extra="convert", for_="reading ONNX")
    try:
        graph = onnx.load(folder / FILE, load_external_data=False).graph
        values = {one.name: _value(onnx, one, folder) for one in graph.initializer}
    except Exception as error:  # noqa: BLE001  protobuf has kinds of its own, and exports none
        raise _unknown(folder, str(error).splitlines()[0]) from None
    return Graph(tuple(graph.node), values)


def _value(onnx: Any, tensor: Any, folder: Path) -> Any:
    """A constant's numbers. Our files are hard links, which onnx itself does not read beside a graph."""
    import numpy

    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return onnx.numpy_helper.to_array(tensor)
    where = {one.key: one.value for one in tensor.external_data}
    if where["location"] != f"{FILE}.data":
        raise ValueError(f"numbers lie in {where['location']}")
    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    count, offset = math.prod(tensor.dims), int(where.get("offset", 0))
    return numpy.fromfile(folder / f"{FILE}.data", kind, count, offset=offset).reshape(tensor.dims)


def _unknown(folder: Path, why: str) -> SourceError:
    return SourceError(
        f"the file cannot be read: {why}", where=str(folder / FILE), try_="make or copy it again"
    )
