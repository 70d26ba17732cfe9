"""A model with its adapters as plain modules, which torch's own ways to spread a model understand."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..lora import Adapters, LoraLinear
from ..trained import Trained


class Adapted(nn.Module):
    """A frozen linear layer and its adapter: y = base(x) + s up(down(x))."""

    def __init__(self, layer: LoraLinear) -> None:
        super().__init__()
        out_features, in_features = layer.weight.shape
        rank = layer.a.shape[0]
        self.base = nn.Linear(in_features, out_features, bias=layer.bias is not None, device="meta")
        self.base.weight, self.base.bias = layer.weight, layer.bias
        self.down = nn.Linear(in_features, rank, bias=False, device="meta")
        self.up = nn.Linear(rank, out_features, bias=False, device="meta")
        self.down.weight = nn.Parameter(layer.a.detach().clone())
        self.up.weight = nn.Parameter(layer.b.detach().clone())
        self.scale = layer.scale

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        y: Tensor = self.base(x) + self.up(self.down(x)) * self.scale
        return y


def make_plain(model: Any, trained: Trained) -> None:
    """Put plain modules in the place of adapted layers; the values stay."""
    if isinstance(trained, Adapters):
        for name, layer in trained.layers.items():
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, Adapted(layer))


def trained_parameters(model: Any, trained: Trained) -> dict[str, nn.Parameter]:
    """The trained parameters of a plain model, spread or not, by the names that `trained` gives them.

    Those that this process does not hold are left out.
    """
    found = {}
    modules = dict(model.named_modules())
    for name in trained.named(trained.flat):
        path, _, last = name.rpartition(".")
        if last in ("lora_A", "lora_B"):
            path, last = f"{path}.{'down' if last == 'lora_A' else 'up'}", "weight"
        if path in modules:
            found[name] = getattr(modules[path], last)
    return found
