"""Step train.base: a base model's files become a Model record that every later step can read."""

from __future__ import annotations

import contextlib
import io
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from ..errors import SourceError, need
from ..prompt import Prompter
from ..records.shapes import Fact, Inputs, Output, SourceFiles, Workspace
from .locate import KNOWN, Located, describe
from .saving import write_json, write_tensors
from .settings import BaseSettings
from .weights import check_fits, check_gguf, safetensors_files, safetensors_header

if TYPE_CHECKING:
    from torch import Tensor

PROBE = "answer"


def run(settings: BaseSettings, inputs: Inputs, workspace: Workspace) -> Output:
    """Write the Model of `settings.base`, whose fingerprinted files are the first source.

    Raises SourceError for files that are missing, damaged or foreign, that have no chat template, or that
    ask for code of their own.
    """
    need("torch", extra="train", for_="a base model")
    source = inputs.sources[0]
    located = describe(settings.base, source.root)
    workspace.report("reading the base model")
    if settings.base in KNOWN:
        _from_gguf(source, located, workspace.out)
    else:
        _from_folder(source, workspace.out)
    notes = [*located.notes, *_settle_end(workspace.out)]
    about = {"name": located.name, "licence": located.licence, "source": located.source, "notes": notes}
    write_json(workspace.out / "base.json", about)
    tensors = safetensors_header(workspace.out / "model.safetensors")
    _check_against_config(tensors, workspace.out)
    count = sum(math.prod(tensor.shape) for tensor in tensors.values())
    return Output(facts={"model.parameters": Fact(float(count), "parameters")})


def _from_gguf(source: SourceFiles, located: Located, out: Path) -> None:
    path = source.path(located.files[0])
    if located.files[0] not in source.files:
        raise SourceError(f"the package of {located.name} lacks {path.name}", where=str(source.root))
    reader = check_gguf(path)

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    # A progress bar that nothing else turns off.
    with contextlib.redirect_stderr(io.StringIO()), _read_once(reader):
        model = AutoModelForCausalLM.from_pretrained(
            source.root,
            gguf_file=path.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
            local_files_only=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(source.root, gguf_file=path.name, local_files_only=True)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config  # the weights are plain floats now
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    _restore_digits(reader, out / "tokenizer.json")


@contextlib.contextmanager
def _read_once(reader: Any) -> Iterator[None]:
    """Let transformers have `reader` and one map of names, where it would make them anew each time.

    It opens the file three times, at four seconds each for 49,000 tokens read one by one, and makes the map
    once a module: 20 of the 29 seconds that a base of 135M took.
    """
    import gguf

    with (
        mock.patch.object(gguf, "GGUFReader", return_value=reader),
        mock.patch.object(gguf, "get_tensor_name_map", lru_cache(gguf.get_tensor_name_map)),
    ):
        yield


def _restore_digits(reader: Any, tokenizer: Path) -> None:
    """Split numbers into digits again where the file says so: transformers' reader of GGUF loses that.

    SmolLM2 was pretrained on single digits (its tokenizer.json on the hub); without them "100" would be a
    token that it has hardly seen.
    """
    field = reader.get_field("tokenizer.ggml.pre")
    if field is None or field.contents() != "smollm":
        return
    told = json.loads(tokenizer.read_text("utf-8"))
    digits = {"type": "Digits", "individual_digits": True}
    told["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, told["pre_tokenizer"]]}
    tokenizer.write_text(json.dumps(told, ensure_ascii=False), "utf-8")


def _from_folder(source: SourceFiles, out: Path) -> None:
    config = _read_json(source, "config.json")
    _refuse_code(config, source.root / "config.json")
    if config.get("quantization_config"):
        raise SourceError(
            "the base is quantised, so it cannot be tuned or converted",
            where=str(source.root / "config.json"),
            try_="the unquantised model",
        )
    paths = safetensors_files(source.root, sorted(source.files))
    for path in paths:
        safetensors_header(path)
    if "tokenizer.json" not in source.files:
        raise SourceError(
            "the base has no tokenizer.json",
            where=str(source.root),
            try_="AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes one",
        )
    tokenizer_config = _read_json(source, "tokenizer_config.json")
    _refuse_code(tokenizer_config, source.root / "tokenizer_config.json")
    template = _template(source, tokenizer_config)
    tokenizer_config.pop("chat_template", None)
    if "special_tokens_map.json" in source.files:
        tokenizer_config = _read_json(source, "special_tokens_map.json") | tokenizer_config
    shutil.copyfile(source.path("tokenizer.json"), out / "tokenizer.json")
    (out / "chat_template.jinja").write_text(template, "utf-8")
    write_json(out / "tokenizer_config.json", tokenizer_config)
    write_json(out / "config.json", config)
    generation = (
        _read_json(source, "generation_config.json") if "generation_config.json" in source.files else {}
    )
    write_json(out / "generation_config.json", generation)
    if len(paths) == 1:
        shutil.copyfile(paths[0], out / "model.safetensors")
    else:
        _join(paths, out / "model.safetensors")


def _join(shards: tuple[Path, ...], path: Path) -> None:
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = {}
    for shard in shards:
        tensors |= load_file(shard)
    write_tensors(path, tensors, {"format": "pt"})


def _template(source: SourceFiles, tokenizer_config: Mapping[str, Any]) -> str:
    if "chat_template.jinja" in source.files:
        return source.path("chat_template.jinja").read_text("utf-8")
    template = tokenizer_config.get("chat_template")
    if template is None and "chat_template.json" in source.files:
        template = _read_json(source, "chat_template.json").get("chat_template")
    if isinstance(template, list):  # several by name: [{"name": ..., "template": ...}]
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    if not isinstance(template, str) or not template.strip():
        raise SourceError(
            "the base has no chat template",
            where=str(source.root),
            try_="an instruct or chat model, or put a chat_template.jinja beside its weights",
        )
    return template


def _refuse_code(config: Mapping[str, Any], path: Path) -> None:
    if config.get("auto_map") or config.get("trust_remote_code"):
        raise SourceError(
            "the base wants to run Python code of its own (auto_map), which is never done",
            where=str(path),
            try_="a model whose architecture transformers knows",
        )


def _settle_end(out: Path) -> list[str]:
    """Make the end token the one that the chat template writes after an answer; a note if it was not."""
    prompter = Prompter(out)
    messages = [{"role": "user", "content": "question"}, {"role": "assistant", "content": PROBE}]
    _, found, after = prompter.text(messages, answering=False).rpartition(PROBE)
    if not found:
        raise SourceError("the chat template leaves out the answer", where=str(out / "chat_template.jinja"))
    tokens = json.loads((out / "tokenizer.json").read_text("utf-8")).get("added_tokens", [])
    special = {token["content"]: int(token["id"]) for token in tokens if token.get("special")}
    after = after.lstrip()
    ends = sorted((name for name in special if after.startswith(name)), key=len)
    if not ends or ends[-1] == prompter.special["eos_token"]:
        return []
    end = ends[-1]
    for name, key, value in (
        ("tokenizer_config.json", "eos_token", end),
        ("config.json", "eos_token_id", special[end]),
        ("generation_config.json", "eos_token_id", special[end]),
    ):
        config = json.loads((out / name).read_text("utf-8"))
        write_json(out / name, config | {key: value})
    was = prompter.special["eos_token"] or "none"
    return [f"the chat template ends an answer with {end}, so that is the end token here (it was {was})"]


def _check_against_config(tensors: Mapping[str, Any], out: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(out, local_files_only=True)
        with torch.device("meta"):  # shapes only
            model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise SourceError(
            f"config.json names no model that transformers knows: {str(error).splitlines()[0][:200]}",
            where=str(out / "config.json"),
            try_="a decoder model such as Llama, Qwen or SmolLM",
        ) from None
    tied = set(getattr(model, "_tied_weights_keys", None) or ()) if config.tie_word_embeddings else set()
    expected = {name: tuple(p.shape) for name, p in model.named_parameters() if name not in tied}
    check_fits(tensors, expected, out / "model.safetensors")


def _read_json(source: SourceFiles, name: str) -> dict[str, Any]:
    if name not in source.files:
        raise SourceError(
            f"the base has no {name}", where=str(source.root), try_="copy all files of the model"
        )
    try:
        value = json.loads(source.path(name).read_text("utf-8"))
    except ValueError:
        raise SourceError(
            f"{name} is no JSON", where=str(source.path(name)), try_="copy the file again"
        ) from None
    if not isinstance(value, dict):
        raise SourceError(
            f"{name} holds no settings", where=str(source.path(name)), try_="copy the file again"
        )
    return value
