"""LiteRT's runtime on a .tflite file, in an environment of its own: what a phone would run, run here.

The file has a fixed room for tokens. Its signatures take and give the whole cache of keys and values, so a
request's cache is handed to them and the one that they filled is taken in its place: nothing is copied.
"""

from __future__ import annotations

import math
import resource
import secrets
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import EngineError, need
from .protocol import Engine, Event, Finish, Request

if TYPE_CHECKING:
    import numpy as np

FILE = "model.tflite"
DECODE = "decode"
CACHE = "kv_cache_"
HIDDEN = -0.7 * 3.4028235e38  # what LiteRT-LM puts into a mask: the least float32, with room to add to it


def start(model: Path, *, threads: int, callers: int, context_tokens: int, exact: bool = False) -> Engine:
    """The engine on a folder with model.tflite."""
    return LiteRt(model / FILE, threads=threads, callers=callers, context_tokens=context_tokens)


class LiteRt:
    """One step for one request at a time, in turn; a prompt is read in pieces of the signature's length."""

    name = "litert"
    gives = frozenset({"sampling", "seed", "logprobs"})

    def __init__(self, file: Path, *, threads: int, callers: int, context_tokens: int) -> None:
        runtime = need("ai_edge_litert.compiled_model", extra="litert", for_="the engine litert")
        import numpy

        self._numpy = numpy
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
        self._room = decode.room
        if context_tokens > self._room:
            raise EngineError(
                f"the file has room for {self._room} tokens, {context_tokens} are needed",
                where=str(file),
                try_="shorter passages, or another engine",
            )
        self._context = context_tokens
        self._callers = callers
        self._free = [self._cache() for _ in range(callers + 1)]  # one more: a step needs one to write to
        self._running: dict[str, _Run] = {}
        self._waiting: deque[Request] = deque()
        self._told: list[Event] = []

    def submit(self, request: Request) -> None:
        if len(request.prompt) + request.max_tokens > self._context:
            why = f"prompt and answer exceed the context of {self._context} tokens"
            self._told.append(Event(request.id, (), time.monotonic(), "failed", why))
        else:
            self._waiting.append(request)

    def cancel(self, id: str) -> None:
        waiting = [request for request in self._waiting if request.id != id]
        if len(waiting) < len(self._waiting) or self._end(id):
            self._waiting = deque(waiting)
            self._told.append(Event(id, (), time.monotonic(), "cancelled"))

    def poll(self, wait_s: float) -> list[Event]:
        while self._waiting and len(self._running) < self._callers:
            request = self._waiting.popleft()
            self._running[request.id] = self._begin(request)
        for run in list(self._running.values()):
            logits = self._step(run)
            if logits is not None:
                self._told.append(self._choose(run, logits))
        told, self._told = self._told, []
        return told

    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
        run = self._begin(Request("score", tuple(prompt), len(answer)))
        found: list[float] = []
        try:
            while len(found) < len(answer):
                logits = self._step(run)
                if logits is not None:
                    token = answer[len(found)]
                    found.append(_logprob(logits, token))
                    run.next = [token]
        finally:
            self._free.append(run.cache)
        return found

    def memory_peak_gib(self) -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts KiB

    def close(self) -> None:
        self._running.clear()
        self._waiting.clear()
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
        """Room for one request's keys and values. Zeros: what is masked is still multiplied, and by no NaN."""
        cache = {}
        for name, details in self._model.get_input_tensor_details(DECODE).items():
            if name.startswith(CACHE):
                cache[name] = self._model.create_input_buffer_by_name(DECODE, name)
                cache[name].write(self._numpy.zeros(details["shape"], self._numpy.float32))
        return cache

    def _begin(self, request: Request) -> _Run:
        seed = secrets.randbits(32) if request.seed is None else request.seed
        draw = self._numpy.random.default_rng(seed)
        return _Run(request, list(request.prompt), self._free.pop(), draw)

    def _end(self, id: str) -> bool:
        run = self._running.pop(id, None)
        if run is not None:
            self._free.append(run.cache)
        return run is not None

    def _step(self, run: _Run) -> np.ndarray[Any, Any] | None:
        """Read some of what is next; the logits (vocabulary,) after its last token, None before that."""
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
        self._model.run_by_name(signature.name, signature.inputs | run.cache, signature.outputs | filled)
        self._free.append(run.cache)
        run.cache = filled
        run.at += count
        del run.next[:count]
        if run.next:
            return None
        logits: np.ndarray[Any, Any] = signature.outputs["logits"].read(self._vocabulary, numpy.float32)
        return logits.astype(numpy.float64)

    def _fitting(self, count: int, at: int) -> _Signature | None:
        """The signature that reads `count` tokens from place `at` in the fewest steps.

        A piece is written whole into the cache, also where it has fewer tokens: it has to end inside.
        """
        able = [s for name, s in self._signatures.items() if name != DECODE and at + s.takes <= s.room]
        return min(able, key=lambda s: (math.ceil(count / s.takes), s.takes), default=None)

    def _choose(self, run: _Run, logits: np.ndarray[Any, Any]) -> Event:
        """The next token of a request, as its event."""
        request = run.request
        token = int(logits.argmax()) if request.temperature == 0 else self._drawn(run, logits)
        run.made += 1
        run.next = [token]
        finish: Finish | None = None
        if token in request.stop:
            finish = "stop"
        elif run.made >= request.max_tokens:
            finish = "length"
        if finish:
            self._end(request.id)
        tokens = () if finish == "stop" else (token,)
        chances = (_logprob(logits, token),) if request.logprobs and tokens else ()
        return Event(request.id, tokens, time.monotonic(), finish, logprobs=chances)

    def _drawn(self, run: _Run, logits: np.ndarray[Any, Any]) -> int:
        """A token by temperature, among the likeliest that together have the chance top_p."""
        numpy = self._numpy
        warm = logits / run.request.temperature
        chances = numpy.exp(warm - warm.max())
        chances /= chances.sum()
        order = numpy.argsort(-chances)
        before = numpy.cumsum(chances[order]) - chances[order]
        kept = order[before < run.request.top_p]
        return int(run.draw.choice(kept, p=chances[kept] / chances[kept].sum()))


@dataclass(frozen=True, slots=True)
class _Signature:
    name: str
    takes: int  # tokens at once
    room: int  # tokens in its cache
    inputs: dict[str, Any]
    outputs: dict[str, Any]


@dataclass(slots=True)
class _Run:
    """A request under way: what is read next, and the cache of the `at` tokens that were read."""

    request: Request
    next: list[int]
    cache: dict[str, Any]
    draw: Any
    at: int = field(default=0)
    made: int = field(default=0)


def _logprob(logits: np.ndarray[Any, Any], token: int) -> float:
    import numpy

    most = logits.max()
    return float(logits[token] - most - numpy.log(numpy.exp(logits - most).sum()))
