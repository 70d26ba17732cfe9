"""Which files a search tries, and in which order."""

from __future__ import annotations

import pytest

from modelyard.flow.files import file_kinds
from modelyard.optimize import missing as lacking


def test_all_that_an_engine_reads_is_tried_with_one_unquantised_file() -> None:
    kinds = file_kinds(["openvino", "llamacpp", "onnx"])
    assert kinds[0] == "gguf F16"
    assert not {"onnx fp32", "litert fp32", "safetensors F32"} & set(kinds)
    assert len(kinds) == 10


@pytest.mark.parametrize(
    ("engine", "unquantised"), [("onnx", "onnx fp32"), ("litert", "litert fp32"), ("vllm", "safetensors F32")]
)
def test_an_engine_alone_has_an_unquantised_file_that_it_reads(engine: str, unquantised: str) -> None:
    kinds = file_kinds([engine])
    assert kinds[0] == unquantised
    assert len(kinds) >= 2


def test_named_files_are_tried_beside_the_unquantised_one() -> None:
    assert file_kinds(["openvino", "llamacpp"], ["gguf Q4_0", "onnx int4"]) == ["gguf F16", "gguf Q4_0"]


def test_a_missing_converter_leaves_its_files_out_and_names_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(package: str) -> bool:
        return package != "nncf"

    monkeypatch.setattr("modelyard.optimize.needs._installed", absent)
    found = lacking("openvino int4")
    assert found
    assert found.try_ == "pip install 'modelyard[openvino,convert]'"
    assert lacking("gguf Q4_0") is None
    assert not [kind for kind in file_kinds(["openvino"]) if kind.startswith("openvino")]
