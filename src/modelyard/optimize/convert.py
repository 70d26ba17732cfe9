"""The step optimize.convert: a Model in, a file or a folder out that engines read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import SourceError, need
from ..records.shapes import Choice, Fact, Inputs, Output, Workspace
from .settings import ConvertSettings

COPIED = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json", "base.json")


def run(settings: ConvertSettings, inputs: Inputs, workspace: Workspace) -> Output:
    """Write the candidate: model.gguf or the folder model, what belongs to it, and recipe.json.

    Beside a file that a server serves stands server.json: where. A model that another project's converter
    cannot take leaves the size unmeasured and says why: that candidate is out, and the search goes on. Raises
    SourceError for a model that GGUF could not carry faithfully, MissingPackage without the converter.
    """
    model = inputs.one("model")
    for name in COPIED:
        if not (model.folder / name).is_file():
            raise SourceError(f"the model has no {name}", where=str(model.folder))
        shutil.copyfile(model.folder / name, workspace.out / name)
    form, _, kind = settings.file.partition(" ")
    recipe: dict[str, Any] = {"format": form, "type": kind, "model": model.digest}
    if settings.chain:
        recipe |= {"chain": list(settings.chain), "tuned": inputs.one("tuned").digest}
    choices: tuple[Choice, ...] = ()
    path, failed = workspace.out / "model", ""
    if form == "gguf":
        path, choices = _gguf(kind, model.folder, workspace.out / "model.gguf", workspace.report)
    else:
        workspace.report(f"writing {settings.file}")
        try:
            recipe |= _folder(settings, model.folder, path, workspace.report)
        except SourceError as error:
            failed = f"not made: {error.what}"
    if settings.server is not None:
        told = settings.server.model_dump(mode="json")
        (workspace.out / "server.json").write_text(json.dumps(told, indent=2) + "\n", "utf-8")
        recipe["server"] = settings.server.url
    (workspace.out / "recipe.json").write_text(json.dumps(recipe, indent=2, sort_keys=True) + "\n", "utf-8")
    return Output({"candidate.size_mib": _size(path, failed)}, choices, provisional=failed)


def _size(path: Path, failed: str) -> Fact:
    if failed:
        return Fact(None, "MiB", why=failed)
    parts = path.rglob("*") if path.is_dir() else (path,)
    return Fact(sum(part.stat().st_size for part in parts) / 2**20, "MiB")


def _folder(
    settings: ConvertSettings, model: Path, path: Path, report: Callable[..., None]
) -> dict[str, Any]:
    """Write the model as the folder `path`; what the recipe tells of it besides."""
    form, _, kind = settings.file.partition(" ")
    if form == "openvino":
        from . import openvino

        openvino.write(kind, model, path, partial(_gguf, "F16", model, report=report))
    elif form == "onnx":
        from . import onnx

        onnx.write(kind, model, path)
    elif form == "litert":
        from . import litert

        return {"room_tokens": litert.write(kind, model, path, settings.room_tokens, report)}
    else:
        from . import safetensors_write

        safetensors_write.write(kind, model, path)
    return {}


def _gguf(
    kind: str, folder: Path, path: Path, report: Callable[..., None]
) -> tuple[Path, tuple[Choice, ...]]:
    need("gguf", extra="train", for_="converting to GGUF")
    from . import architecture, gguf_write, vocabulary, weights

    shape = architecture.read(model_json(folder / "config.json"))
    written = gguf_write.write(
        path,
        kind,
        shape,
        vocabulary.read(folder, shape.vocabulary),
        weights.Weights(folder),
        name=str(model_json(folder / "base.json").get("name", "model")),
        tell=lambda done, total: report(f"writing {kind}", done=done, total=total),
    )
    return path, _choices(kind, shape.tied, written)


def _choices(kind: str, tied: bool, written: Any) -> tuple[Choice, ...]:
    counts = ", ".join(f"{count} {name}" for name, count in sorted(written.types.items()))
    choices = [Choice("tensor types", counts, "norms and biases stay F32: few numbers that scale everything")]
    if written.head != kind:
        what = "the embedding, which is also the output head," if tied else "embedding and output head"
        why = f"with {what} in four bits too, SmolLM2-135M lost half as much again"
        choices.append(Choice("head type", written.head, why))
    if written.left_f16:
        why = f"their rows do not divide into blocks of 32 numbers, such as {written.left_f16[0]}"
        choices.append(Choice("tensors left in F16", str(len(written.left_f16)), why))
    return tuple(choices)


def model_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise SourceError(f"the model has no {path.name}", where=str(path.parent)) from None
    except ValueError as error:
        raise SourceError(f"{path.name} cannot be read: {error}", where=str(path)) from None
    if not isinstance(value, dict):
        raise SourceError(f"{path.name} does not hold an object", where=str(path))
    return value
