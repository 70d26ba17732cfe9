"""Settings of the optimize room, and its step."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from ..records.settings import Settings
from ..records.shapes import Step

CONVERT = Step("optimize.convert", 3, "modelyard.optimize.convert:run")

# A format, and how it holds the matrices' numbers.
FileKind = Literal[
    "gguf F16",
    "gguf Q8_0",
    "gguf Q5_1",
    "gguf Q5_0",
    "gguf Q4_1",
    "gguf Q4_0",
    "litert fp32",
    "litert int8",
    "safetensors F32",
    "safetensors BF16",
]
FILE_KINDS: tuple[FileKind, ...] = get_args(FileKind)
# What losses are counted from: the first that the engine reads.
UNQUANTISED: tuple[FileKind, ...] = ("gguf F16", "litert fp32", "safetensors F32")


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
