"""What a tuned model is on disk: the adapter in peft's form, and the weights with it merged in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..records.shapes import Choice
from .checkpoint import Progress
from .lora import Adapters
from .saving import write_json, write_tensors
from .trained import Trained
from .weights import safetensors_header

if TYPE_CHECKING:
    from torch import Tensor

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


def write_model(trained: Trained, base: Path, out: Path) -> Choice:
    """The weights in the base's type, W + scale * B A for an adapted layer; the base's other files copied."""
    from safetensors.torch import load_file

    from .whole import Whole

    tensors = load_file(base / "model.safetensors")
    if isinstance(trained, Adapters):
        merge(tensors, trained.tensors(), trained.scale)
        why = "the merged weights keep the type of the base's"
    else:
        assert isinstance(trained, Whole)
        views = trained.named(trained.flat)
        for name, weight in tensors.items():  # what is no parameter, such as a table of positions, stays
            own = trained.tied.get(name, name)
            if own in views:
                tensors[name] = views[own].detach().to("cpu", weight.dtype)
        why = "the trained weights are stored in the type of the base's"
    return write_weights(tensors, base, out, why)


def merge(tensors: dict[str, Tensor], layers: Iterable[tuple[str, Tensor, Tensor]], scale: float) -> None:
    """Add scale * B A to the weight of each layer (name, A, B), in that weight's type."""
    for name, a, b in layers:
        weight = tensors[f"{name}.weight"]
        tensors[f"{name}.weight"] = weight.float().addmm_(b.cpu(), a.cpu(), alpha=scale).to(weight.dtype)


def write_weights(tensors: Mapping[str, Tensor], base: Path, out: Path, why: str) -> Choice:
    """model.safetensors, and all other files of the base copied."""
    write_tensors(out / "model.safetensors", tensors, {"format": "pt"})
    for name in COPIED:
        if (base / name).is_file():
            shutil.copyfile(base / name, out / name)
    types = sorted({stored.dtype for stored in safetensors_header(out / "model.safetensors").values()})
    return Choice("train.merged", ", ".join(types), why)


def write_loss(progress: Progress, path: Path) -> None:
    """loss.json: of each optimizer step its number, the tokens so far, and the mean loss (nats per label)."""
    taken = [number + 1 for number in range(progress.step) if number not in progress.skipped]
    write_json(path, {"step": taken, "tokens": progress.token_counts, "loss": progress.losses})
