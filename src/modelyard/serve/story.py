"""How the service tells its owner what happens: sentences that are never made of what a client said."""

from __future__ import annotations

from typing import Protocol


class Story(Protocol):
    """Takes a sentence with {places} and what fills them, so that it can be told in another language."""

    def __call__(self, text: str, /, **values: object) -> None: ...
