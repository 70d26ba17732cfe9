"""OpenVINO GenAI's continuous batching on a GGUF file: the fast one for many callers on a CPU."""

from __future__ import annotations

import math
import os
import resource
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import machine
from ..errors import EngineError, need
from .protocol import MATCHED, PROPOSED, Engine, Event, Finish, Request

BLOCK_TOKENS = 32  # tokens in a block of OpenVINO's paged cache on a CPU
# Without these OpenVINO computes in bf16 where the CPU has it, quantises the activations that meet quantised
# weights, and keeps its cache in fewer bits: 0.02 to 0.06 nats a token from torch, against 0.0001 with them.
EXACT = {
    "INFERENCE_PRECISION_HINT": "f32",
    "KV_CACHE_PRECISION": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
}
# Activations that meet quantised weights are rounded in groups, of 32 unless told. OpenVINO's own format
# rounds weights by row or by 64: with groups of 64 and VNNI, int8 answers 13% more a second at 8 callers and
# 15% more alone, int4 10% more. GGUF's blocks of 32 lose a fifth by it.
OWN_GROUP = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "64"}
BATCH_TOKENS = 512  # prompt tokens taken in one step: more delays the other callers' next token


def start(
    model: Path,
    *,
    threads: int,
    callers: int,
    context_tokens: int,
    exact: bool = False,
    lookup: bool = False,
    prefix_caching: bool = False,
) -> Engine:
    """The engine on a GGUF file, or a folder in OpenVINO's own format."""
    return OpenVino(
        model,
        threads=threads,
        callers=callers,
        context_tokens=context_tokens,
        properties=EXACT if exact else _rounding(model),
        prefix_caching=prefix_caching,
        lookup=lookup,
    )


@contextmanager
def _writable(model: Path) -> Iterator[Path]:
    """A path to the same bytes that may be opened for writing: OpenVINO's reader of GGUF asks for that,
    though it writes nothing, and a yard's files are for reading. A copy in memory, for as long as it is read.
    """
    if model.is_dir() or os.access(model, os.W_OK):
        yield model
        return
    copy = os.memfd_create(model.name)
    try:
        with model.open("rb") as source, open(copy, "wb", closefd=False) as target:
            shutil.copyfileobj(source, target)
        with tempfile.TemporaryDirectory() as place:
            link = Path(place) / model.name  # by its ending the reader knows what it is
            link.symlink_to(f"/proc/{os.getpid()}/fd/{copy}")
            yield link
    finally:
        os.close(copy)


def _rounding(model: Path) -> dict[str, str]:
    return OWN_GROUP if model.is_dir() and {"avx512_vnni", "avx_vnni"} & machine.features() else {}


class OpenVino:
    """All requests under way advance together, one token a step."""

    name = "openvino"
    gives = frozenset(
        {
            "prompt_logprobs",
            "exact",
            "sampling",
            "seed",
            "logprobs",
            "json_schema",
            "lookup",
            "prefix_caching",
        }
    )

    def __init__(
        self,
        model: Path,
        *,
        threads: int,
        callers: int,
        context_tokens: int,
        properties: Mapping[str, Any] | None = None,
        batch_tokens: int = BATCH_TOKENS,
        prefix_caching: bool = False,
        lookup: bool = False,
    ) -> None:
        self._lookup = lookup
        self._genai = need("openvino_genai", extra="openvino", for_="the engine openvino")
        openvino = need("openvino", extra="openvino", for_="the engine openvino")
        import numpy

        self._openvino, self._numpy = openvino, numpy
        scheduler = self._genai.SchedulerConfig()
        scheduler.max_num_seqs = callers
        scheduler.max_num_batched_tokens = batch_tokens
        scheduler.dynamic_split_fuse = True
        scheduler.enable_prefix_caching = prefix_caching
        # One block more a caller: a block is taken before its first token is known.
        scheduler.num_kv_blocks = callers * (math.ceil(context_tokens / BLOCK_TOKENS) + 1)
        asked = {"INFERENCE_NUM_THREADS": threads, **(properties or {})}
        if lookup:
            asked["prompt_lookup"] = True
        try:
            with _writable(model) as path:
                self._pipeline = self._genai.ContinuousBatchingPipeline(
                    str(path), scheduler, "CPU", asked, {}, {}
                )
        except (RuntimeError, IndexError, ValueError) as error:
            raise EngineError(
                f"openvino cannot load the file: {_last_line(error)}",
                where=str(model),
                try_="another engine",
            ) from None
        self._context = context_tokens
        self._running: dict[str, _Run] = {}
        self._told: list[Event] = []
        self._count = 0

    def submit(self, request: Request) -> None:
        if len(request.prompt) + request.max_tokens > self._context:
            self._fail(request.id, f"prompt and answer exceed the context of {self._context} tokens")
            return
        config = self._config(request.max_tokens, request.stop)
        self._choose(config, request)
        try:
            self._running[request.id] = _Run(request, self._add(request.prompt, config))
        except (RuntimeError, ValueError):  # its message may quote the schema
            self._fail(request.id, "openvino refused the request")

    def cancel(self, id: str) -> None:
        run = self._running.pop(id, None)
        if run is not None:
            run.handle.cancel()
            self._told.append(Event(id, (), time.monotonic(), "cancelled"))

    def poll(self, wait_s: float) -> list[Event]:
        if self._pipeline.has_non_finished_requests():
            self._pipeline.step()
        now = time.monotonic()
        for id, run in list(self._running.items()):
            event = self._read(run, now)
            if event is not None:
                self._told.append(event)
                if event.finish:
                    del self._running[id]
        told, self._told = self._told, []
        return told

    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
        # The prompt is echoed with each token's log-probability; one more token has to be generated.
        config = self._config(1, ())
        config.echo = True
        config.logprobs = 1
        handle = self._add([*prompt, *answer], config)
        found: list[float] = []
        while self._pipeline.has_non_finished_requests():
            self._pipeline.step()
            while handle.can_read():
                for output in handle.read().values():
                    found += output.generated_log_probs
        scored = found[len(prompt) : len(prompt) + len(answer)]
        if len(scored) != len(answer):
            raise EngineError(f"openvino scored {len(scored)} of {len(answer)} tokens")
        return [float(value) for value in scored]

    def memory_peak_gib(self) -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts KiB

    def close(self) -> None:
        for run in self._running.values():
            run.handle.cancel()
        self._running.clear()
        del self._pipeline

    def _add(self, ids: Sequence[int], config: Any) -> Any:
        self._count += 1
        tensor = self._openvino.Tensor(self._numpy.array([list(ids)], dtype=self._numpy.int64))
        return self._pipeline.add_request(self._count, tensor, config)

    def _config(self, max_tokens: int, stop: tuple[int, ...]) -> Any:
        config = self._genai.GenerationConfig()
        config.max_new_tokens = max_tokens
        config.do_sample = False
        config.apply_chat_template = False
        if self._lookup:
            config.num_assistant_tokens, config.max_ngram_size = PROPOSED, MATCHED
        if stop:  # naming the end token keeps OpenVINO from adding the file's own
            config.eos_token_id = stop[0]
            config.stop_token_ids = set(stop)
        else:
            config.ignore_eos = True
        return config

    def _choose(self, config: Any, request: Request) -> None:
        """Drawing, log-probabilities and a schema, where the request asks for them."""
        if request.temperature > 0:
            config.do_sample = True
            config.temperature = request.temperature
            config.top_p = request.top_p
            config.rng_seed = secrets.randbits(32) if request.seed is None else request.seed
        if request.logprobs:
            config.logprobs = 1
        if request.schema is not None:
            config.structured_output_config = self._genai.StructuredOutputConfig(json_schema=request.schema)

    def _read(self, run: _Run, now: float) -> Event | None:
        """What is new of one request, if anything."""
        tokens: list[int] = []
        logprobs: list[float] = []
        finish: Finish | None = None
        status, reason = self._genai.GenerationStatus, self._genai.GenerationFinishReason
        while run.handle.can_read():
            for output in run.handle.read().values():
                tokens += output.generated_ids
                if run.request.logprobs:
                    logprobs += output.generated_log_probs
                if output.finish_reason == reason.STOP:
                    finish = "stop"
                elif output.finish_reason == reason.LENGTH:
                    finish = "length"
        if tokens and tokens[-1] in run.request.stop:
            tokens, finish = tokens[:-1], "stop"
        run.made += len(tokens)
        if finish is None and run.handle.get_status() == status.IGNORED:
            return Event(
                run.request.id, tuple(tokens), now, "failed", "the engine's cache is too small for it"
            )
        if finish is None and not tokens:
            return None
        return Event(run.request.id, tuple(tokens), now, finish, logprobs=tuple(logprobs[: len(tokens)]))

    def _fail(self, id: str, why: str) -> None:
        self._told.append(Event(id, (), time.monotonic(), "failed", why))


@dataclass(slots=True)
class _Run:
    request: Request
    handle: Any
    made: int = field(default=0)


def _last_line(error: Exception) -> str:
    """OpenVINO's messages begin with the place in its source; the last line says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
