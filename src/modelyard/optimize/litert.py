"""A model as a .tflite file: litert-torch does it, in an environment of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from .. import environments
from ..errors import EngineError, SourceError

RECIPES = {"fp32": "none", "int8": "dynamic_wi8_afp32"}
FILE = "model.tflite"
LONGEST_LINE = 100


def write(kind: str, model: Path, folder: Path, room: int, report: Callable[..., None]) -> int:
    """Write folder/model.tflite with room for `room` tokens, or as many as the model knows; returns them.

    Raises SourceError for a model that the exporter cannot take, MissingPackage without the environment.
    """
    known = json.loads((model / "config.json").read_text("utf-8"))["max_position_embeddings"]
    room = min(room, int(known))
    folder.mkdir(parents=True, exist_ok=True)
    arguments = [str(model), str(folder / FILE), RECIPES[kind], str(room)]
    try:
        environments.run(
            "litert",
            "modelyard.environments.litert_export",
            arguments,
            lambda line: report(f"litert {kind}: {line[:LONGEST_LINE]}") if "[START]" in line else None,
        )
    except EngineError as error:
        raise SourceError(
            f"litert-torch cannot convert the model: {error.what.rpartition(' | ')[2]}", where=str(model)
        ) from None
    return room
