"""A model as a folder of safetensors in one type of number, with all that vLLM wants beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ..errors import need
from .weights import Weights

DTYPES = {"F32": "float32", "BF16": "bfloat16"}
BESIDE = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def write(kind: str, model: Path, folder: Path) -> None:
    """Write folder/model.safetensors and what belongs to it. Raises SourceError for a damaged model."""
    torch = need("torch", extra="train", for_="writing safetensors")
    save_file = need("safetensors.torch", extra="train", for_="writing safetensors").save_file
    folder.mkdir(parents=True, exist_ok=True)
    dtype = getattr(torch, DTYPES[kind])
    weights = Weights(model)
    config = json.loads((model / "config.json").read_text("utf-8"))
    tied = config.get("tie_word_embeddings", False)
    tensors = {
        name: torch.from_numpy(weights[name].copy()).to(dtype)
        for name in weights
        if not (tied and name == "lm_head.weight")
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    told = {**config, "dtype": DTYPES[kind]}
    (folder / "config.json").write_text(json.dumps(told, indent=2, sort_keys=True) + "\n", "utf-8")
    for name in BESIDE:
        shutil.copyfile(model / name, folder / name)
