"""Settings of the optimize room, and its step."""

from __future__ import annotations

from typing import Literal, get_args

from ..records.settings import Settings
from ..records.shapes import Step

CONVERT = Step("optimize.convert", 2, "modelyard.optimize.convert:run")

# A format, and how it holds the matrices' numbers.
FileKind = Literal[
    "gguf F16",
    "gguf Q8_0",
    "gguf Q5_1",
    "gguf Q5_0",
    "gguf Q4_1",
    "gguf Q4_0",
]
FILE_KINDS: tuple[FileKind, ...] = get_args(FileKind)
UNQUANTISED: FileKind = "gguf F16"


class ConvertSettings(Settings):
    """What optimize.convert is told."""

    file: FileKind
    """Format and type of the file."""
