"""A trial of a search as a Model, and a trial that has none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import TrainingError
from ..records.shapes import Choice, Fact, Output, Record, Workspace
from . import held
from .budget import Plan

if TYPE_CHECKING:
    from torch import Tensor

    from .seen import Seen

PREFIX = "base_model.model."  # of peft's names


def take(trial: Record, base: Record, workspace: Workspace) -> Output:
    """The Model that `trial` is: its files, and where it kept an adapter the base with that merged in."""
    out = workspace.out
    workspace.report("writing the model")
    # Contents alone: a record's own files are read only.
    shutil.copytree(trial.folder, out, copy_function=shutil.copyfile, dirs_exist_ok=True)
    choices = [
        *trial.choices,
        Choice(
            "train.search", trial.id, "the lowest loss on select of all trials; see `modelyard show search`"
        ),
    ]
    if not (out / "model.safetensors").is_file():
        choices.append(_merge(out / "adapter", base.folder, out))
    return Output(trial.facts, tuple(choices))


def _merge(adapter: Path, base: Path, out: Path) -> Choice:
    from safetensors.torch import load_file

    from . import export

    config = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    tensors = load_file(base / "model.safetensors")
    export.merge(tensors, _layers(adapter), config["lora_alpha"] / config["r"])
    return export.write_weights(tensors, base, out, "the merged weights keep the type of the base's")


def _layers(adapter: Path) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Of each layer its name, A [r, in] and B [out, r]."""
    from safetensors.torch import load_file

    tensors = load_file(adapter / "adapter_model.safetensors")
    for name, a in tensors.items():
        if name.endswith(".lora_A.weight"):
            layer = name.removesuffix(".lora_A.weight")
            yield layer.removeprefix(PREFIX), a, tensors[f"{layer}.lora_B.weight"]


def fallen(error: TrainingError, made: Plan, seen: Seen, choices: Sequence[Choice]) -> Output:
    """A trial that fell apart: no model, and what was to be measured says why there is nothing."""
    losses = held.paired(seen.texts, seen.before, seen.before)
    facts = {
        name: fact if name.endswith("_before") else Fact(None, fact.unit, why=error.what)
        for name, fact in held.facts(losses).items()
    }
    why = f"its plan was {made.tokens} tokens in {made.steps} steps"
    return Output(facts, (*choices, Choice("train.fallen", error.what, why)))
