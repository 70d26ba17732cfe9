"""A larger model that is asked for its own chances of every word while a smaller one learns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .head import Head, Taught
from .row import Row


class Teacher:
    """A frozen decoder of transformers that knows the student's words; see `Taught`."""

    def __init__(self, model: Any, words: int, *, share: float, temperature: float) -> None:
        """words: rows of the student's head; those that a teacher has beyond them are padding."""
        self._decoder, output = model.get_decoder(), model.get_output_embeddings()
        bias = getattr(output, "bias", None)
        self._head = Head(output.weight[:words], None if bias is None else bias[:words])
        self._share, self._temperature = share, temperature

    def of(self, row: Row) -> Taught:
        """What it says of a row's labels."""
        with torch.no_grad():
            hidden = hidden_states(self._decoder, row)
        return Taught(hidden, self._head, self._share, self._temperature)


def hidden_states(decoder: Any, row: Row) -> Tensor:
    """What the head reads at the labels of a packed row, [L, D]."""
    out = decoder(input_ids=row.ids, position_ids=row.positions, use_cache=False, layout=row.layout)
    hidden: Tensor = out.last_hidden_state[0].index_select(0, row.before)
    return hidden
