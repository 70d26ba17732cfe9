"""A model without some layers, channels and groups: a smaller dense one of the same architecture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .architecture import LAYER, Architecture

if TYPE_CHECKING:
    from torch import Tensor

    from .importance import Kept

# Which dimension of a layer's tensor runs over channels of the MLP, or over groups of heads.
CHANNELS = {"mlp.gate_proj.weight": 0, "mlp.up_proj.weight": 0, "mlp.down_proj.weight": 1}
GROUPS = {f"self_attn.{at}_proj.{what}": 0 for at in "qkv" for what in ("weight", "bias")}
GROUPS["self_attn.o_proj.weight"] = 1


def tensors(folder: Path, shape: Architecture, kept: Kept) -> dict[str, Tensor]:
    """The tensors of model.safetensors that stay, in their own type, layers counted anew.

    Raises SourceError for a tensor that has no place in the architecture.
    """
    from safetensors import safe_open

    found = {}
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        for name in sorted(file.keys()):
            shape.tensor(name)
            layer = LAYER.fullmatch(name)
            if layer is None:
                found[name] = file.get_tensor(name)
            elif (at := int(layer[1])) in kept.layers:
                own = f"model.layers.{kept.layers.index(at)}.{layer[2]}"
                found[own] = _part(file.get_tensor(name), layer[2], at, shape, kept)
    return found


def _part(tensor: Tensor, name: str, layer: int, shape: Architecture, kept: Kept) -> Tensor:
    import torch

    for dimensions, stays, count in (
        (CHANNELS, kept.channels.get(layer), shape.intermediate),
        (GROUPS, kept.groups.get(layer), shape.kv_heads),
    ):
        if name in dimensions and stays is not None:
            at = dimensions[name]
            # Whole groups: a query head goes with its keys.
            parts = tensor.view(*tensor.shape[:at], count, -1, *tensor.shape[at + 1 :])
            return parts.index_select(at, torch.tensor(stays)).flatten(at, at + 1).contiguous()
    return tensor


def config(told: Mapping[str, Any], shape: Architecture, kept: Kept) -> dict[str, Any]:
    """config.json of what stays; the size of a head is told, for it no longer follows from their number."""
    first = kept.layers[0]
    channels = len(kept.channels.get(first, range(shape.intermediate)))
    groups = len(kept.groups.get(first, range(shape.kv_heads)))
    found = dict(told) | {
        "num_hidden_layers": len(kept.layers),
        "intermediate_size": channels,
        "num_attention_heads": shape.heads // shape.kv_heads * groups,
        "num_key_value_heads": groups,
        "head_dim": shape.head_dim,
    }
    if isinstance(told.get("layer_types"), list):  # Qwen2 tells the kind of each layer
        found["layer_types"] = [told["layer_types"][layer] for layer in kept.layers]
    return found
