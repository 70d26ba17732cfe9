"""Settings of the optimize room, and its two steps."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, model_validator

from ..records.settings import Settings
from ..records.shapes import Step

PRUNE = Step("optimize.prune", 1, "modelyard.optimize.prune:run")
CONVERT = Step("optimize.convert", 3, "modelyard.optimize.convert:run")

# A format, and how it holds the matrices' numbers; the likeliest to be chosen first.
FileKind = Literal[
    "gguf F16",
    "gguf Q8_0",
    "gguf Q4_0",
    "openvino int8",
    "openvino int4",
    "onnx fp32",
    "onnx int8",
    "onnx int4",
    "gguf Q5_1",
    "gguf Q5_0",
    "gguf Q4_1",
    "litert fp32",
    "litert int8",
    "safetensors F32",
    "safetensors BF16",
]
FILE_KINDS: tuple[FileKind, ...] = get_args(FileKind)
# What losses are counted from: the first that the engine reads.
UNQUANTISED: tuple[FileKind, ...] = ("gguf F16", "onnx fp32", "litert fp32", "safetensors F32")


class Server(Settings):
    """A server that serves the file."""

    url: str
    """Base of its routes, such as http://127.0.0.1:8000/v1."""
    model: str
    """Model to ask for, as the server names it."""
    key_env: str | None = None
    """Environment variable with the server's key."""


class ConvertSettings(Settings):
    """What optimize.convert is told."""

    file: FileKind
    """Format and type of the file."""
    server: Server | None = None
    """Who serves the file, where that is a server of yours."""
    room_tokens: int = Field(default=1024, ge=64)
    """Prompt and answer together, in a file whose room is fixed when it is made (LiteRT)."""
    chain: tuple[str, ...] = Field(default=(), exclude_if=lambda chain: not chain)
    """What was done to the tuned model before, in order, for the recipe; nothing where it is that one."""

    @property
    def label(self) -> str:
        """Such as "26 layers, distilled, gguf Q4_0"."""
        return ", ".join((*self.chain, self.file))


class Prune(Settings):
    """What is to be left of the tuned model: one of the three, or several at once."""

    layers: int | None = Field(default=None, ge=1)
    """Layers that stay; those with the least influence go."""
    mlp: float | None = Field(default=None, gt=0, lt=1)
    """Share of each MLP's channels that stays, rounded to a multiple of 32."""
    groups: int | None = Field(default=None, ge=1)
    """Key-value heads that stay in each layer, each with the query heads that read it."""

    @model_validator(mode="after")
    def _something(self) -> Prune:
        if self.layers is None and self.mlp is None and self.groups is None:
            raise ValueError("give layers, mlp or groups, or several of them")
        return self

    @property
    def label(self) -> str:
        """Such as "26 layers, 0.75 of the MLP"."""
        parts = (
            (self.layers, "{} layers"),
            (self.mlp, "{:g} of the MLP"),
            (self.groups, "{} key-value heads"),
        )
        return ", ".join(text.format(value) for value, text in parts if value is not None)


class PruneSettings(Prune):
    """What optimize.prune is told."""

    texts: int = Field(default=32, ge=4)
    """Texts that importance is measured on; as many others judge it."""
    seed: int = 0
