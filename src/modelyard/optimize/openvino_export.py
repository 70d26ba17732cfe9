"""`python -m modelyard.optimize.openvino_export GGUF MODEL FOLDER int8|int4`: a graph for OpenVINO GenAI.

GenAI's own saving rounds every number to half precision, and leaves vectors without names. What scales
everything (norms, biases, the turns of a head's pairs) is put back in single precision, under its name.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .architecture import Architecture, read
from .convert import model_json
from .weights import Array, Weights

GROUPS = (128, 64, 32)  # weights that share a scale in four bits: the largest that divides every row
GRAPH = "openvino_model.xml"


def main(file: Path, model: Path, folder: Path, kind: str) -> None:
    """Write the graph and its tokenizer's, which GenAI wants beside it."""
    openvino, nncf = importlib.import_module("openvino"), importlib.import_module("nncf")
    genai = importlib.import_module("openvino_genai")
    genai.LLMPipeline(str(file), "CPU", enable_save_ov_model=True)
    shape = read(model_json(model / "config.json"))
    graph = openvino.Core().read_model(file.with_name(GRAPH))
    restore(openvino, graph, dict(vectors(Weights(model))), turns(shape))
    mode = nncf.CompressWeightsMode
    if kind == "int8":
        graph = nncf.compress_weights(graph, mode=mode.INT8_ASYM)
    else:
        rows = (shape.hidden, shape.intermediate, shape.heads * shape.head_dim)
        group = next((size for size in GROUPS if not any(row % size for row in rows)), -1)
        graph = nncf.compress_weights(graph, mode=mode.INT4_SYM, group_size=group, ratio=1.0)
    openvino.save_model(graph, folder / GRAPH, compress_to_fp16=False)
    for part in file.parent.glob("openvino_*tokenizer.*"):
        shutil.copyfile(part, folder / part.name)


def vectors(weights: Weights) -> Iterator[tuple[str, Array]]:
    """Norms and biases."""
    for name in weights:
        if len(weights.shape(name)) == 1:
            yield name, weights[name]


def turns(shape: Architecture) -> Array:
    """By how much each pair of a head turns from one token to the next."""
    size = shape.head_dim
    exponents = np.arange(0, size, 2, dtype=np.float64) / size
    return np.asarray(shape.rope_theta**-exponents, np.float32)


def restore(openvino: Any, graph: Any, vectors: Mapping[str, Array], turns: Array) -> None:
    """Put what scales everything into the graph in single precision, each vector under its name.

    A vector is known by its numbers, rounded as the graph's are; equal ones come in the order of the layers.
    Raises ValueError where one is not found.
    """
    halves = [(name, value, value.astype(np.float16)) for name, value in sorted(vectors.items(), key=_order)]
    found_turns = False
    for constant in graph.get_ordered_ops():
        if constant.get_type_name() != "Constant" or constant.get_element_type() != openvino.Type.f16:
            continue
        value = constant.data
        if value.size == turns.size and np.array_equal(value.ravel(), turns.astype(np.float16)):
            _replace(openvino, constant, turns.reshape(value.shape), "turns")
            found_turns = True
            continue
        for at, (name, right, half) in enumerate(halves):
            if half.size == value.size and np.array_equal(half, value.ravel()):
                _replace(openvino, constant, right.reshape(value.shape), name)
                del halves[at]
                break
    if halves or not found_turns:
        raise ValueError(f"the graph lacks {halves[0][0] if halves else 'the turns of a head'}")


def _order(item: tuple[str, Array]) -> tuple[int, str]:
    parts = item[0].split(".")
    return (int(parts[2]) if parts[1] == "layers" else 1 << 30, item[0])


def _replace(openvino: Any, constant: Any, value: Array, name: str) -> None:
    """In the place of a constant and of the conversions to single precision behind it."""
    one = openvino.op.Constant(np.ascontiguousarray(value, np.float32))
    one.set_friendly_name(name)
    constant.set_friendly_name(f"{name}/rounded")
    output = constant.output(0)
    while len(inputs := output.get_target_inputs()) == 1:
        node = next(iter(inputs)).get_node()
        if node.get_type_name() != "Convert":
            break
        output = node.output(0)
    for target in output.get_target_inputs():
        target.replace_source_output(one.output(0))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
