"""A graph in OpenVINO's own format: what it says of its model, and its weights, dequantised."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SourceError, need

if TYPE_CHECKING:
    import torch

FILE = "openvino_model.xml"
LAYER = re.compile(r"\[(\d+)\]")  # GenAI writes model.layers[3]. for model.layers.3.
TURNS = "turns"  # the name that our conversion gives a head's turns
AT_ONCE = 32  # matrices dequantised by one compiled graph: compiling one for each took six times as long
WEIGHT = re.compile(r"(model|lm_head)[.\[].*(weight|bias)")


def told(folder: Path) -> dict[str, Any]:
    """What the graph says: layers, key-value heads, width of a head, tie, eps, and turns of a head's pairs.

    Raises SourceError for a graph that is not one of ours.
    """
    graph = _graph(folder)
    caches = [op.get_output_partial_shape(0) for op in graph.get_ops() if op.get_type_name() == "ReadValue"]
    constants = {op.get_friendly_name(): op for op in graph.get_ops() if op.get_type_name() == "Constant"}
    names = {_name(name) for name in constants if WEIGHT.fullmatch(name)}
    if TURNS not in constants or not caches or not names:
        raise _unknown(folder, "it lacks weights, caches or the turns of a head")
    return {
        "layers": len(caches) // 2,
        "caches": sorted({(one[1].get_length(), one[3].get_length()) for one in caches}),
        "tied": "lm_head.weight" not in names,
        "eps": sorted({float(eps) for eps in _eps(graph)}),
        "turns": [float(turn) for turn in constants[TURNS].data.ravel()],
    }


def state_dict(folder: Path) -> dict[str, torch.Tensor]:
    """The weights as float32 under Hugging Face's names, as the graph itself computes them."""
    torch = need("torch", extra="train", for_="reading a file's weights")
    found = {name: torch.from_numpy(value.copy()) for name, value in _weights(folder).items()}
    if "lm_head.weight" not in found:
        found["lm_head.weight"] = found["model.embed_tokens.weight"]
    return found


def _weights(folder: Path) -> dict[str, Any]:
    """Each weight where the nodes end that depend on constants alone: scales and zero points applied."""
    try:
        stat = (folder / FILE).with_suffix(".bin").stat()
    except OSError:
        raise _unknown(folder, "its .bin is not there") from None
    return _dequantised(folder, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1)
def _dequantised(folder: Path, changed_ns: int, size: int) -> dict[str, Any]:
    openvino = _openvino()
    graph = _graph(folder)
    fixed: set[str] = set()  # unique names of nodes that depend on constants alone
    ends: dict[str, Any] = {}
    for op in graph.get_ordered_ops():
        sources = [one.get_source_output().get_node() for one in op.inputs()]
        if op.get_type_name() == "Constant" or (sources and all(one.get_name() in fixed for one in sources)):
            fixed.add(op.get_name())
    for op in graph.get_ordered_ops():
        name = op.get_friendly_name()
        if op.get_type_name() == "Constant" and WEIGHT.fullmatch(name):
            output = op.output(0)
            while (nexts := _fixed_after(output, fixed)) is not None:
                output = nexts
            ends[_name(name)] = output
    values = {name: end.get_node().data for name, end in ends.items() if _is_constant(end)}
    rounded = [(name, end) for name, end in ends.items() if not _is_constant(end)]
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    for at in range(0, len(rounded), AT_ONCE):
        some = rounded[at : at + AT_ONCE]
        found = openvino.compile_model(openvino.Model([end for _, end in some], []), "CPU", exact)({})
        values |= {name: found[place] for place, (name, _) in enumerate(some)}
    return {name: _plain(value) for name, value in values.items()}


def _is_constant(output: Any) -> bool:
    return bool(output.get_node().get_type_name() == "Constant")


def _fixed_after(output: Any, fixed: set[str]) -> Any | None:
    """The output of the next node that still depends on constants alone."""
    for target in output.get_target_inputs():
        if target.get_node().get_name() in fixed:
            return target.get_node().output(0)
    return None


def _plain(value: Any) -> Any:
    """A vector without the dimensions of one that broadcasting wants."""
    value = value.astype("float32", copy=False)
    return value.ravel() if value.ndim > 2 else value


def _eps(graph: Any) -> list[float]:
    """What is added to the mean square before a norm's root."""
    found = []
    for op in graph.get_ops():
        if op.get_type_name() == "Sqrt":
            add = op.input(0).get_source_output().get_node()
            for one in add.inputs():
                node = one.get_source_output().get_node()
                while node.get_type_name() == "Convert":
                    node = node.input(0).get_source_output().get_node()
                if node.get_type_name() == "Constant":
                    found.append(float(node.data.ravel()[0]))
    return found


def _graph(folder: Path) -> Any:
    openvino = _openvino()
    try:
        return openvino.Core().read_model(folder / FILE)
    except RuntimeError as error:
        raise _unknown(folder, str(error).strip().splitlines()[-1]) from None


def _openvino() -> Any:
    """OpenVINO's package, which calls home while it is imported unless this variable is set."""
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        return need("openvino", extra="openvino", for_="reading OpenVINO's format")
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before


def _name(name: str) -> str:
    return LAYER.sub(r".\1", name)


def _unknown(folder: Path, why: str) -> SourceError:
    return SourceError(
        f"the graph cannot be read: {why}", where=str(folder / FILE), try_="make or copy it again"
    )
