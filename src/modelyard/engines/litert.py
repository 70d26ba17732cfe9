"""LiteRT's runtime on a .tflite file, in an environment of its own: what a phone would run, run here.

The file has a fixed room for tokens. Its signatures take and give the whole cache of keys and values, so a
request's cache is handed to them and the one that they filled is taken in its place: nothing is copied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import EngineError, need
from .protocol import Engine
from .stepwise import Run, Stepwise

if TYPE_CHECKING:
    from .stepwise import Logits

FILE = "model.tflite"
DECODE = "decode"
CACHE = "kv_cache_"
HIDDEN = -0.7 * 3.4028235e38  # what LiteRT-LM puts into a mask: the least float32, with room to add to it


def start(model: Path, *, threads: int, callers: int, context_tokens: int, exact: bool = False) -> Engine:
    """The engine on a folder with model.tflite."""
    return LiteRt(model / FILE, threads=threads, callers=callers, context_tokens=context_tokens)


class LiteRt(Stepwise[dict[str, Any]]):
    """A request's room is a cache; a prompt is read in pieces of the signature's length."""

    name = "litert"

    def __init__(self, file: Path, *, threads: int, callers: int, context_tokens: int) -> None:
        super().__init__(callers=callers, context_tokens=context_tokens)
        runtime = need("ai_edge_litert.compiled_model", extra="litert", for_="the engine litert")
        cpu = runtime.CpuOptions(num_threads=threads)
        options = runtime.Options(hardware_accelerators=runtime.HardwareAccelerator.CPU, cpu_options=cpu)
        try:
            self._model = runtime.CompiledModel.from_file(str(file), options=options)
            self._signatures = {name: self._signature(name) for name in self._model.get_signature_list()}
            decode = self._signatures[DECODE]
        except (RuntimeError, ValueError, KeyError) as error:
            what = f"litert cannot load the file: {error}"
            raise EngineError(what, where=str(file), try_="another engine") from None
        self._vocabulary = int(self._model.get_output_tensor_details(DECODE)["logits"]["shape"][-1])
        if context_tokens > decode.room:
            raise EngineError(
                f"the file has room for {decode.room} tokens, {context_tokens} are needed",
                where=str(file),
                try_="shorter passages, or another engine",
            )
        self._free = [self._cache() for _ in range(callers + 1)]  # one more: a step needs one to write to

    def close(self) -> None:
        super().close()
        del self._model

    def _signature(self, name: str) -> _Signature:
        """The buffers of a signature, but for the cache's."""
        inputs = self._model.get_input_tensor_details(name)
        outputs = self._model.get_output_tensor_details(name)
        return _Signature(
            name=name,
            takes=int(inputs["tokens"]["shape"][-1]),
            room=int(inputs["mask"]["shape"][-1]),
            inputs={
                one: self._model.create_input_buffer_by_name(name, one)
                for one in inputs
                if not one.startswith(CACHE)
            },
            outputs={
                one: self._model.create_output_buffer_by_name(name, one)
                for one in outputs
                if not one.startswith(CACHE)
            },
        )

    def _cache(self) -> dict[str, Any]:
        """Room for one request's keys and values. Zeros: what is masked is multiplied too, and by no NaN."""
        cache = {}
        for name, details in self._model.get_input_tensor_details(DECODE).items():
            if name.startswith(CACHE):
                cache[name] = self._model.create_input_buffer_by_name(DECODE, name)
                cache[name].write(self._numpy.zeros(details["shape"], self._numpy.float32))
        return cache

    def _open(self) -> dict[str, Any]:
        return self._free.pop()

    def _close(self, room: dict[str, Any]) -> None:
        self._free.append(room)

    def _read(self, run: Run[dict[str, Any]]) -> Logits | None:
        numpy = self._numpy
        signature = self._fitting(len(run.next) - 1, run.at) if len(run.next) > 1 else None
        signature = signature or self._signatures[DECODE]
        count = min(signature.takes, len(run.next) - (signature.name != DECODE))
        ids = numpy.zeros((1, signature.takes), numpy.int32)
        ids[0, :count] = run.next[:count]
        places = numpy.arange(run.at, run.at + signature.takes, dtype=numpy.int32)
        mask = numpy.full((1, 1, signature.takes, signature.room), HIDDEN, numpy.float32)
        mask[0, 0][numpy.arange(signature.room)[None, :] <= places[:, None]] = 0
        for name, value in (("tokens", ids), ("input_pos", places), ("mask", mask)):
            signature.inputs[name].write(value)
        filled = self._free.pop()
        self._model.run_by_name(signature.name, signature.inputs | run.room, signature.outputs | filled)
        self._free.append(run.room)
        run.room = filled
        run.at += count
        del run.next[:count]
        if run.next:
            return None
        read = signature.outputs["logits"].read(self._vocabulary, numpy.float32)
        logits: Logits = read.astype(numpy.float64)
        return logits

    def _fitting(self, count: int, at: int) -> _Signature | None:
        """The signature that reads `count` tokens from place `at` in the fewest steps.

        A piece is written whole into the cache, also where it has fewer tokens: it has to end inside.
        """
        able = [s for name, s in self._signatures.items() if name != DECODE and at + s.takes <= s.room]
        return min(able, key=lambda s: (math.ceil(count / s.takes), s.takes), default=None)


@dataclass(frozen=True, slots=True)
class _Signature:
    name: str
    takes: int  # tokens at once
    room: int  # tokens in its cache
    inputs: dict[str, Any]
    outputs: dict[str, Any]
