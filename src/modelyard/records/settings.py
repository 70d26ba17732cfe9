"""The base of every settings model: frozen, and an unknown name is a mistake."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def exact(value: Any) -> Any:
    """A value that may become money. Raises ValueError for a float."""
    if isinstance(value, float):
        raise ValueError("money must be read from text, not from a float")
    return value


Money = Annotated[Decimal, BeforeValidator(exact), Field(ge=0)]


class Settings(BaseModel):
    """A block of the project file, or what one step is told. Field names carry their unit."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
