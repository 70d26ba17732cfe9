"""The base of every settings model: frozen, and an unknown name is a mistake."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def exact(value: Any) -> Any:
    """A value that may become money. Raises ValueError for a float."""
    if isinstance(value, float):
        raise ValueError("money must be read from text, not from a float")
    return value


Money = Annotated[Decimal, BeforeValidator(exact), Field(ge=0)]


def check_server(url: str, key_env: str | None) -> None:
    """Whether this is a server's URL and a variable's name. Raises ValueError, which tells neither.

    What was given may be a key in the wrong place.
    """
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ValueError("url: no URL") from None
    if not whole:
        raise ValueError("url: begins with http:// or https:// and a host")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("url: has no user, password or query; a key goes into the variable of key_env")
    if key_env is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", key_env):
        raise ValueError("key_env: the name of an environment variable, not the key")


class Settings(BaseModel):
    """A block of the project file, or what one step is told. Field names carry their unit."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
