"""A .tflite file read back by a script in the environment litert: what its graph says, and its weights."""

from __future__ import annotations

import json
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import environments
from ..errors import EngineError, SourceError, need

if TYPE_CHECKING:
    import torch

FILE = "model.tflite"


def told(folder: Path) -> dict[str, Any]:
    """What the file says of itself: layers, tie, eps, turns of a head, signatures, and where those disagree.

    Raises SourceError for a file that is not one of ours, MissingPackage without the environment.
    """
    found: dict[str, Any] = json.loads((_read(folder) / "told.json").read_text("utf-8"))
    return found


def state_dict(folder: Path) -> dict[str, torch.Tensor]:
    """The weights as float32 under Hugging Face's names, dequantised."""
    safetensors = need("safetensors.torch", extra="train", for_="reading a file's weights")
    weights: dict[str, torch.Tensor] = safetensors.load_file(_read(folder) / "weights.safetensors")
    if "lm_head.weight" not in weights:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    return weights


def _read(folder: Path) -> Path:
    stat = (folder / FILE).stat()
    return Path(_unpacked(folder / FILE, stat.st_mtime_ns, stat.st_size).name)


@lru_cache(maxsize=1)
def _unpacked(path: Path, changed_ns: int, size: int) -> tempfile.TemporaryDirectory[str]:
    """The last file's numbers on disk, for they are four times as large as the file."""
    place = tempfile.TemporaryDirectory(prefix="modelyard-litert-")
    try:
        environments.run(
            "litert", "modelyard.environments.litert_weights", [str(path), place.name], lambda line: None
        )
    except EngineError as error:
        raise SourceError(
            f"the file cannot be read back: {error.what.rpartition(' | ')[2]}", where=str(path)
        ) from None
    return place
