"""A model as ONNX, in eight or four bits: ONNX Runtime GenAI's builder does it, in a process of its own."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ..errors import EngineError, SourceError
from . import child, needs

BUILDER = "onnxruntime_genai.models.builder"
# No code of the model's is run, and the head sees the last token only: nothing else is ever asked of it.
OPTIONS = ("hf_remote=false", "prune_lm_head=true")
# With the embedding in four bits too, SmolLM2-135M lost half as much again (as GGUF): the head has eight,
# and the embedding, which the builder cannot share with such a head, stays in single precision.
FOUR_BITS = ("matmul_mixed_precision=last_matmul:int8", "shared_embeddings=false")


def write(kind: str, model: Path, folder: Path) -> None:
    """Write model.onnx, its weights and genai_config.json into `folder`.

    Raises SourceError for a model that the builder does not know.
    """
    needs.check("onnx")
    options = OPTIONS + (FOUR_BITS if kind == "int4" else ())
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent) as cache:
            where = ("-i", str(model), "-o", str(folder), "-c", cache)
            child.run(BUILDER, [*where, "-p", kind, "-e", "cpu", "--extra_options", *options])
    except EngineError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise SourceError(
            f"ONNX Runtime's builder cannot take the model: {error.what}",
            where=str(model),
            try_="a GGUF file",
        ) from None
