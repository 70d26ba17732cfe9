"""ONNX Runtime GenAI on a folder with model.onnx: one step for one request at a time.

Its own batching (0.18, on a CPU) answers no more requests a second than this, and gives no logits.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import EngineError, need
from .protocol import Engine
from .stepwise import Run, Stepwise

if TYPE_CHECKING:
    from .stepwise import Logits

PIECE = 256  # prompt tokens read at once: more delays the other callers' next token


def start(model: Path, *, threads: int, callers: int, context_tokens: int, exact: bool = False) -> Engine:
    """The engine on a folder with model.onnx and genai_config.json."""
    return Onnx(model, threads=threads, callers=callers, context_tokens=context_tokens)


class Onnx(Stepwise[Any]):
    """A request's room is a generator."""

    name = "onnx"

    def __init__(self, model: Path, *, threads: int, callers: int, context_tokens: int) -> None:
        super().__init__(callers=callers, context_tokens=context_tokens)
        self._genai = need("onnxruntime_genai", extra="onnx", for_="the engine onnx")
        options = {"intra_op_num_threads": threads, "inter_op_num_threads": 1}
        try:
            config = self._genai.Config(str(model))
            config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
            self._model = self._genai.Model(config)
        except RuntimeError as error:
            raise EngineError(
                f"onnx cannot load the file: {str(error).splitlines()[0]}",
                where=str(model),
                try_="another engine",
            ) from None

    def close(self) -> None:
        super().close()
        del self._model

    def _open(self) -> Any:
        params = self._genai.GeneratorParams(self._model)
        params.set_search_options(max_length=self._context + 1, do_sample=False)
        return self._genai.Generator(self._model, params)

    def _read(self, run: Run[Any]) -> Logits | None:
        piece, run.next = run.next[:PIECE], run.next[PIECE:]
        run.room.append_tokens(self._numpy.array(piece, self._numpy.int32))
        run.at += len(piece)
        if run.next:
            return None
        logits = run.room.get_logits()  # (1, 1, vocabulary): the head sees the last token only
        last: Logits = logits[0, -1].astype(self._numpy.float64)
        return last

    def _close(self, room: Any) -> None:
        """The generator goes with its last reference."""
