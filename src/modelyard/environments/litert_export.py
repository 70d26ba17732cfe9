"""Inside the environment litert: a folder of safetensors as a .tflite file.

`inside.py modelyard.environments.litert_export MODEL OUT RECIPE ROOM`: RECIPE as the quantiser names it or
"none", ROOM the tokens that the file's cache holds.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import types
from pathlib import Path

PIECE = 128  # prompt tokens read at once; a longer piece makes a short prompt wait for padding


def main(model: Path, out: Path, recipe: str, room: int) -> None:
    """Convert. The exporter leaves the file in a folder of its own making, with one that is not quantised."""
    _schema()
    export = importlib.import_module("litert_torch.generative.export_hf.export")
    part = out.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    export.export(
        model=str(model),
        output_dir=str(part),
        keep_temporary_files=True,  # so that it does not make a folder of a random name
        prefill_lengths=[PIECE],
        cache_length=room,
        quantization_recipe=None if recipe == "none" else recipe,
        bundle_litert_lm=False,
        trust_remote_code=False,
    )
    made = part / ("model.tflite" if recipe == "none" else "model_quantized.tflite")
    os.replace(made, out)
    shutil.rmtree(part)


def _schema() -> None:
    """litert-torch 0.10.0 imports TensorFlow's schema of the format, undeclared; LiteRT's is the same module.

    torch looks for a TensorFlow while it is imported: it must not see this one.
    """
    importlib.import_module("torch._dynamo.trace_rules")
    schema = importlib.import_module("ai_edge_litert.schema_py_generated")
    for name in ("tensorflow", "tensorflow.lite", "tensorflow.lite.python"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["tensorflow.lite.python"].schema_py_generated = schema  # type: ignore[attr-defined]
    sys.modules["tensorflow.lite.python.schema_py_generated"] = schema


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
