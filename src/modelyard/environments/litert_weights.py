"""Inside the environment litert: what a .tflite file of a Llama or Qwen2 says and holds.

`inside.py modelyard.environments.litert_weights FILE OUT` writes OUT/told.json, the numbers that its graph
implies, and OUT/weights.safetensors, its dequantised weights in float32 under Hugging Face's names.
The graph keeps no names of tensors, but those of the modules that each came from; see `_named`.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

LINEAR = re.compile(r"DecoderLayer_(\d+)/.*\.Linear_([a-z_]+_proj)$")
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
NORMS = ("input_layernorm", "post_attention_layernorm")
DTYPES = {0: np.float32, 1: np.float16, 9: np.int8}  # TensorType of schema.fbs

Weights = dict[str, "np.ndarray[Any, Any]"]


class Graph:
    """One signature's graph."""

    def __init__(self, model: Any, at: int, schema: Any, data: bytes) -> None:
        self.model, self.graph, self.data = model, model.subgraphs[at], data
        self.codes = {
            value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")
        }

    def operators(self, *kinds: str) -> Iterator[Any]:
        """The operators of these kinds, in the order in which they run."""
        for one in self.graph.operators:
            code = self.model.operatorCodes[one.opcodeIndex]
            if self.codes.get(max(code.builtinCode, code.deprecatedBuiltinCode)) in kinds:
                yield one

    def constant(self, at: int) -> np.ndarray[Any, Any] | None:
        """A constant as float32, dequantised; None for a tensor that is computed."""
        tensor = self.graph.tensors[at]
        buffer = self.model.buffers[tensor.buffer]
        if buffer.offset:  # of large files: beyond the flatbuffer
            raw = self.data[buffer.offset : buffer.offset + buffer.size]
        elif buffer.data is None or len(buffer.data) == 0:
            return None
        else:
            raw = bytes(buffer.data)
        if tensor.type not in DTYPES:
            return None
        value = np.frombuffer(raw, DTYPES[tensor.type]).reshape(tensor.shape).astype(np.float32)
        scales = tensor.quantization.scale if tensor.quantization is not None else None
        if tensor.type != 9 or scales is None:
            return value
        shape = [1] * value.ndim
        shape[tensor.quantization.quantizedDimension] = len(scales)
        zero = np.asarray(tensor.quantization.zeroPoint, np.float32).reshape(shape)
        scaled: np.ndarray[Any, Any] = (value - zero) * np.asarray(scales, np.float32).reshape(shape)
        return scaled

    def modules(self, at: int) -> set[tuple[int, str]]:
        """Layers and projections that a tensor's name speaks of: several where the exporter joined some."""
        parts = self.graph.tensors[at].name.decode("utf-8", "replace").split(";")
        return {(int(found[1]), found[2]) for part in parts if (found := LINEAR.search(part))}


def goes_to_the_end(graph: Graph) -> bool:
    """Whether the last layer is all there: a prompt's graph may stop at its keys and values."""
    every = {one for at in graph.operators("FULLY_CONNECTED") for one in graph.modules(int(at.inputs[1]))}
    return (max((layer for layer, _ in every), default=-1), "down_proj") in every


def read(graph: Graph, *, whole: bool) -> tuple[dict[str, Any], Weights]:
    """What a graph says, and its weights. Raises ValueError where a weight has no place.

    One that is not `whole` ends with the last layer's keys and values: it has neither head nor last norm.
    """
    weights: Weights = {}
    (table,) = {int(one.inputs[1]) for one in graph.operators("EMBEDDING_LOOKUP")}
    weights["model.embed_tokens.weight"] = _there(graph, table)
    linear = {int(one.inputs[1]): one for one in graph.operators("FULLY_CONNECTED")}
    tied = table in linear
    head = list(linear)[-1] if whole and not tied else None
    for at, (layer, kind) in _named(graph, [a for a in linear if a not in (table, head)]).items():
        name = f"model.layers.{layer}.{'self_attn' if kind in ATTENTION else 'mlp'}.{kind}"
        weights[f"{name}.weight"] = _there(graph, at)
        bias = linear[at].inputs[2] if len(linear[at].inputs) > 2 else -1
        if bias >= 0:
            weights[f"{name}.bias"] = _there(graph, int(bias))
    if head is not None:
        weights["lm_head.weight"] = _there(graph, head)
    norms, eps = _norms(graph)
    if whole:
        weights["model.norm.weight"] = norms.pop()
    if not norms or len(norms) % 2 == whole:
        raise ValueError(f"{len(norms)} norms of layers were found")
    for at, norm in enumerate(norms):
        weights[f"model.layers.{at // 2}.{NORMS[at % 2]}.weight"] = norm
    layers = -(-len(norms) // len(NORMS))
    return {"layers": layers, "tied": tied, "eps": sorted(eps), "turns": _turns(graph)}, weights


def apart(whole: tuple[dict[str, Any], Weights], part: tuple[dict[str, Any], Weights]) -> list[str]:
    """What a signature that ends with the last keys and values says or holds otherwise, or should hold."""
    says, holds = whole
    last = f"model.layers.{says['layers'] - 1}."
    unread = {
        name
        for name in holds
        if name in ("lm_head.weight", "model.norm.weight")
        or (name.startswith(last) and not re.search(r"input_layernorm|[kv]_proj", name))
    }
    names = part[1].keys() | (holds.keys() - unread)
    wrong = sorted(name for name in names if not _same(part[1].get(name), holds.get(name)))
    return wrong + sorted(name for name in ("layers", "eps", "turns") if says[name] != part[0][name])


def _there(graph: Graph, at: int) -> np.ndarray[Any, Any]:
    found = graph.constant(at)
    if found is None:
        raise ValueError(f"the tensor {at} holds no numbers that can be read")
    return found


def _named(graph: Graph, tensors: list[int]) -> dict[int, tuple[int, str]]:
    """Each weight's layer and projection. Of two that a name speaks of, the other has a weight of its own."""
    open_ = {at: graph.modules(at) for at in tensors}
    found: dict[int, tuple[int, str]] = {}
    while open_:
        sure = [at for at, modules in open_.items() if len(modules) == 1]
        if not sure:
            raise ValueError(f"{len(open_)} weights have no clear place")
        for at in sure:
            (found[at],) = open_.pop(at)
        taken = set(found.values())
        open_ = {at: modules - taken for at, modules in open_.items()}
    if len(set(found.values())) != len(found):
        raise ValueError("two weights have the same place")
    return found


def _norms(graph: Graph) -> tuple[list[np.ndarray[Any, Any]], set[float]]:
    """The norms' weights in the order in which they run, and their eps."""
    flexbuffers = importlib.import_module("flatbuffers.flexbuffers")
    norms, eps = [], set()
    for one in graph.operators("STABLEHLO_COMPOSITE"):
        options = one.builtinOptions2
        if options.name == b"odml.rms_norm":
            norms.append(_there(graph, int(one.inputs[1])))
            eps.add(round(float(flexbuffers.Loads(bytes(options.compositeAttributes))["epsilon"]), 12))
    return norms, eps


def _turns(graph: Graph) -> list[float]:
    """Radians by which the pairs of a head turn from token to token: what is multiplied, then cosined."""
    made = {int(one.outputs[0]): one for one in graph.operators("MUL", "CONCATENATION")}
    for cosine in graph.operators("COS"):
        at = int(cosine.inputs[0])
        while at in made:
            one = made[at]
            for source in one.inputs:
                value = graph.constant(int(source))
                if value is not None and value.size > 1:
                    return [float(v) for v in value.flatten()]
            at = int(one.inputs[0])
    raise ValueError("the rotation of its heads was not found")


def main(file: Path, out: Path) -> None:
    """Read the graphs of all signatures, which must hold the same weights, as far as each goes."""
    schema = importlib.import_module("ai_edge_litert.schema_py_generated")
    save_file = importlib.import_module("safetensors.numpy").save_file
    data = file.read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    signatures: dict[str, Any] = {}
    read_of: dict[bool, list[tuple[dict[str, Any], Weights]]] = {True: [], False: []}
    for one in model.signatureDefs:
        graph = Graph(model, one.subgraphIndex, schema, data)
        inputs = {
            t.name.decode(): [int(n) for n in graph.graph.tensors[t.tensorIndex].shape] for t in one.inputs
        }
        signatures[one.signatureKey.decode()] = inputs
        whole = goes_to_the_end(graph)
        read_of[whole].append(read(graph, whole=whole))
    if not read_of[True]:
        raise ValueError("no signature goes through all layers")
    (told, weights), *others = read_of[True]
    wrong = [name for other in read_of[False] for name in apart((told, weights), other)]
    for says, holds in others:
        wrong += sorted(n for n in holds.keys() | weights if not _same(holds.get(n), weights.get(n)))
        wrong += sorted(name for name in says if says[name] != told[name])
    out.mkdir(parents=True, exist_ok=True)
    save_file(weights, out / "weights.safetensors")
    (out / "told.json").write_text(json.dumps({**told, "signatures": signatures, "apart": wrong}), "utf-8")


def _same(a: np.ndarray[Any, Any] | None, b: np.ndarray[Any, Any] | None) -> bool:
    return a is not None and b is not None and np.array_equal(a, b)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
