"""Which files a search tries, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.errors import MissingPackage, SourceError
from modelyard.flow import skipped
from modelyard.flow.files import file_kinds, unmade
from modelyard.optimize import missing as lacking
from modelyard.project import Project


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
    assert file_kinds(["openvino", "llamacpp"], ["gguf Q4_0"]) == ["gguf F16", "gguf Q4_0"]


def test_a_named_file_that_no_engine_reads_is_an_error_and_not_left_out() -> None:
    with pytest.raises(SourceError, match="none of the engines that are measured reads onnx int4"):
        file_kinds(["openvino", "llamacpp"], ["gguf Q4_0", "onnx int4"])


def test_a_second_unquantised_file_is_tried_where_it_is_named() -> None:
    assert file_kinds(["llamacpp", "onnx"], ["onnx fp32"]) == ["gguf F16", "onnx fp32"]


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
    assert [one.what for one in unmade(["openvino", "llamacpp"])] == ["converting to openvino needs nncf"]
    with pytest.raises(MissingPackage):
        file_kinds(["openvino"], ["openvino int4"])


@pytest.mark.parametrize(
    ("release", "told"),
    [
        ({}, ["the engine onnx is not installed", "converting to openvino needs nncf"]),
        ({"engines": ["openvino"]}, ["converting to openvino needs nncf"]),
        ({"search": {"files": ["gguf Q4_0"]}}, ["the engine onnx is not installed"]),
        ({"engines": ["llamacpp"], "search": {"files": ["gguf Q4_0"]}}, []),
    ],
)
def test_what_the_search_does_without_is_told_unless_the_project_named_it(
    monkeypatch: pytest.MonkeyPatch, release: dict[str, Any], told: list[str]
) -> None:
    def engine(name: str) -> MissingPackage | None:
        return MissingPackage("the engine onnx is not installed", try_="…") if name == "onnx" else None

    monkeypatch.setattr("modelyard.optimize.needs._installed", lambda package: package != "nncf")
    monkeypatch.setattr("modelyard.engines.missing", engine)
    source = {"path": "x", "licence": "MIT", "owner": "X", "basis": "own"}
    project = Project.model_validate(
        {"version": 1, "name": "a", "data": {"sources": [source]}, "release": release}
    )
    assert [one.what for one in skipped(project)] == told
