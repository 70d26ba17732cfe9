"""What a tuned model is on disk: the adapter in peft's form, and the weights with it merged in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ..records.shapes import Choice
from .checkpoint import Progress
from .lora import Adapters
from .saving import write_json, write_tensors
from .weights import safetensors_header

# Everything of the base but its weights.
COPIED = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
    "base.json",
)


def write_adapter(adapters: Adapters, folder: Path, base: str) -> None:
    """adapter_config.json and adapter_model.safetensors, as peft.PeftModel.from_pretrained reads them."""
    from peft import LoraConfig, TaskType

    folder.mkdir(parents=True, exist_ok=True)
    config = LoraConfig(
        r=adapters.rank,
        lora_alpha=adapters.scale * adapters.rank,  # type: ignore[arg-type]
        lora_dropout=0.0,
        bias="none",
        target_modules=adapters.targets,
        task_type=TaskType.CAUSAL_LM,
        base_model_name_or_path=base,
        inference_mode=True,
    )
    config.save_pretrained(str(folder))
    path = folder / "adapter_config.json"
    told = json.loads(path.read_text("utf-8"))
    told["target_modules"] = sorted(
        told["target_modules"]
    )  # peft keeps a set, whose order changes from run to run
    write_json(path, told)
    tensors = {}
    for name, a, b in adapters.tensors():
        tensors[f"base_model.model.{name}.lora_A.weight"] = a
        tensors[f"base_model.model.{name}.lora_B.weight"] = b
    write_tensors(folder / "adapter_model.safetensors", tensors, {"format": "pt"})


def write_merged(adapters: Adapters, base: Path, out: Path) -> Choice:
    """W + scale * B A for every adapted layer, in the base's type; all other files of the base copied."""
    from safetensors.torch import load_file

    tensors = load_file(base / "model.safetensors")
    for name, a, b in adapters.tensors():
        weight = tensors[f"{name}.weight"]
        merged = weight.float().addmm_(b, a, alpha=adapters.scale)
        tensors[f"{name}.weight"] = merged.to(weight.dtype)
    write_tensors(out / "model.safetensors", tensors, {"format": "pt"})
    for name in COPIED:
        if (base / name).is_file():
            shutil.copyfile(base / name, out / name)
    types = sorted({stored.dtype for stored in safetensors_header(out / "model.safetensors").values()})
    return Choice("train.merged", ", ".join(types), "the merged weights keep the type of the base's")


def write_loss(progress: Progress, path: Path) -> None:
    """loss.json: of each optimizer step its number, the tokens so far, and the mean loss (nats per label)."""
    taken = [number + 1 for number in range(progress.step) if number not in progress.skipped]
    write_json(path, {"step": taken, "tokens": progress.token_counts, "loss": progress.losses})
