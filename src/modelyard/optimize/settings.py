"""Settings of the optimize room, and its step."""

from __future__ import annotations

from typing import Literal

from ..records.settings import Settings
from ..records.shapes import Step

CONVERT = Step("optimize.convert", 1, "modelyard.optimize.convert:run")

GgufType = Literal["F16", "Q8_0", "Q4_0"]
GGUF_TYPES: tuple[GgufType, ...] = ("F16", "Q8_0", "Q4_0")


class ConvertSettings(Settings):
    """What optimize.convert is told: the file type of the matrices."""

    gguf: GgufType
