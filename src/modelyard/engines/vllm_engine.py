"""vLLM's own engine on a folder of safetensors, in its environment: what a machine with a GPU serves by.

It runs inside this process, one step of its scheduler a poll: no address, no key, and it ends when we do. The
same model behind vLLM's HTTP server is asked by the engine `remote`.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import EngineError, need
from .protocol import Engine, Event, Finish, Request

CACHE_GIB = 4  # on a CPU, of keys and values at most; on a GPU the share below
GPU_SHARE = 0.85
BLOCK_TOKENS = 128  # a request's cache is a whole number of blocks, on a CPU of this size
DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
QUIET = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
}


def start(model: Path, *, threads: int, callers: int, context_tokens: int, exact: bool = False) -> Engine:
    """The engine on a folder of safetensors, computing in the type that they have."""
    return Vllm(model, threads=threads, callers=callers, context_tokens=context_tokens)


class Vllm:
    """All requests under way advance together, one token a step."""

    name = "vllm"
    gives = frozenset({"sampling", "seed", "logprobs", "prompt_logprobs", "json_schema"})

    def __init__(self, model: Path, *, threads: int, callers: int, context_tokens: int) -> None:
        os.environ |= QUIET
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(CACHE_GIB))
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # cores may be shared
        vllm = need("vllm", extra="gpu", for_="the engine vllm")
        parameters = need("vllm.sampling_params", extra="gpu", for_="the engine vllm")
        self._parameters, self._kind = parameters, vllm.SamplingParams
        self._room = -(-context_tokens // BLOCK_TOKENS) * BLOCK_TOKENS
        self._context = context_tokens
        try:
            engine = need("vllm.v1.engine.llm_engine", extra="gpu", for_="the engine vllm").LLMEngine
            self._engine = engine.from_engine_args(
                need("vllm.engine.arg_utils", extra="gpu", for_="the engine vllm").EngineArgs(
                    model=str(model),
                    dtype=DTYPES[_dtype(model)],
                    max_model_len=self._room,
                    max_num_seqs=callers,
                    gpu_memory_utilization=GPU_SHARE,
                    generation_config="vllm",
                    skip_tokenizer_init=False,
                    enable_prefix_caching=False,
                    enforce_eager=not _has_gpu(),  # compiling for a CPU takes minutes and a C++ compiler
                    disable_log_stats=True,
                    trust_remote_code=False,
                    seed=0,
                )
            )
        except (RuntimeError, ValueError, OSError, AssertionError, KeyError) as error:
            what = f"vllm cannot load the folder: {_first_line(error)}"
            raise EngineError(what, where=str(model), try_="another engine") from None
        self._running: dict[str, Request] = {}
        self._told: list[Event] = []

    def submit(self, request: Request) -> None:
        if len(request.prompt) + request.max_tokens > self._context:
            why = f"prompt and answer exceed the context of {self._context} tokens"
            self._told.append(Event(request.id, (), time.monotonic(), "failed", why))
            return
        try:
            self._add(request.id, request.prompt, self._params(request))
        except (RuntimeError, ValueError, TypeError):  # its message may quote the schema
            self._told.append(Event(request.id, (), time.monotonic(), "failed", "vllm refused the request"))
            return
        self._running[request.id] = request

    def cancel(self, id: str) -> None:
        if self._running.pop(id, None) is not None:
            self._engine.abort_request([id])
            self._told.append(Event(id, (), time.monotonic(), "cancelled"))

    def poll(self, wait_s: float) -> list[Event]:
        if self._engine.has_unfinished_requests():
            outputs = self._engine.step()
            now = time.monotonic()
            self._told += [event for output in outputs if (event := self._read(output, now)) is not None]
        told, self._told = self._told, []
        return told

    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
        params = self._kind(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)
        self._add("score", [*prompt, *answer], params)
        told: list[Any] = []
        while self._engine.has_unfinished_requests():
            for output in self._engine.step():
                told = output.prompt_logprobs or told
        rest = told[len(prompt) :]
        if len(rest) != len(answer):
            raise EngineError(f"vllm scored {len(rest)} of {len(answer)} tokens")
        return [float(chances[token].logprob) for token, chances in zip(answer, rest, strict=True)]

    def memory_peak_gib(self) -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts KiB

    def close(self) -> None:
        self._running.clear()
        self._engine.engine_core.shutdown()

    def _add(self, id: str, ids: Sequence[int], params: Any) -> None:
        self._engine.add_request(id, {"prompt_token_ids": list(ids)}, params)

    def _params(self, request: Request) -> Any:
        how: dict[str, Any] = {"temperature": request.temperature}
        if request.temperature > 0:
            how |= {"top_p": request.top_p, "seed": request.seed}
        if request.logprobs:
            how["logprobs"] = 0
        if request.schema is not None:
            how["structured_outputs"] = self._parameters.StructuredOutputsParams(
                json=json.loads(request.schema)
            )
        return self._kind(
            max_tokens=request.max_tokens,
            stop_token_ids=list(request.stop),
            ignore_eos=True,  # it ends at the stop tokens alone
            detokenize=False,
            output_kind=self._parameters.RequestOutputKind.DELTA,
            **how,
        )

    def _read(self, output: Any, now: float) -> Event | None:
        """What is new of one request."""
        request = self._running.get(output.request_id)
        if request is None:
            return None
        (new,) = output.outputs
        tokens = list(new.token_ids)
        logprobs = [float(at[token].logprob) for token, at in zip(tokens, new.logprobs or (), strict=False)]
        finish: Finish | None = None
        if output.finished:
            finish = "length" if new.finish_reason == "length" else "stop"
            del self._running[request.id]
        if tokens and tokens[-1] in request.stop:
            tokens = tokens[:-1]
        return Event(request.id, tuple(tokens), now, finish, logprobs=tuple(logprobs[: len(tokens)]))


def _dtype(model: Path) -> str:
    """The type of the weights, as safetensors calls it."""
    for path in sorted(model.glob("*.safetensors")):
        with path.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        for name, tensor in header.items():
            if name != "__metadata__":
                return str(tensor["dtype"])
    raise EngineError("the folder has no safetensors weights", where=str(model))


def _has_gpu() -> bool:
    return bool(need("torch", extra="gpu", for_="the engine vllm").cuda.is_available())


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
