"""llama.cpp's server inside this process (xllamacpp), asked over its loopback address: good for one caller.

The in-process calls of xllamacpp return text only; the native HTTP route returns token ids, which is what
we compare and bill. The address is 127.0.0.1 with a random port, and a random key that only we know.
"""

from __future__ import annotations

import http.client
import json
import queue
import resource
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import EngineError, need
from .pieces import Pieces
from .protocol import Engine, Event, Finish, Request

FORCE = 1e6  # added to a token's logit so that it is chosen; its log-probability is told from before that
TIMEOUT_S = 600.0  # an engine that hangs is killed from outside, by its worker's limit, long before


def start(model: Path, *, threads: int, callers: int, context_tokens: int) -> Engine:
    """The engine on a GGUF file."""
    return LlamaCpp(model, threads=threads, callers=callers, context_tokens=context_tokens)


class LlamaCpp:
    """A thread for each request under way reads its stream; `poll` hands out what they have read."""

    name = "llamacpp"
    gives: frozenset[str] = frozenset()

    def __init__(
        self, model: Path, *, threads: int, callers: int, context_tokens: int, prefix_caching: bool = False
    ) -> None:
        xllamacpp = need("xllamacpp", extra="llamacpp", for_="the engine llamacpp")
        key = secrets.token_urlsafe(32)
        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        params.n_parallel = callers
        params.n_ctx = callers * context_tokens
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.n_threads_http = callers + 2
        params.hostnames = ["127.0.0.1"]
        params.api_keys = [key]
        params.offline = True
        params.fit_params = False  # the context is what was asked for, not what a guess at memory allows
        params.cache_ram_mib = 0  # no prompt of one caller is kept for another
        params.endpoint_slots = params.endpoint_props = params.endpoint_metrics = params.ui = False
        params.verbosity = -1
        try:
            self._server = xllamacpp.Server(params)
        except (RuntimeError, ValueError) as error:
            raise EngineError(f"llamacpp cannot load the file: {error}", where=str(model), try_="another engine") from None
        where = urlsplit(self._server.listening_address)
        self._host, self._port = str(where.hostname), int(where.port or 0)
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        self._pieces = Pieces(model)
        self._context = context_tokens
        self._cache = prefix_caching
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._cancelled: dict[str, threading.Event] = {}

    def submit(self, request: Request) -> None:
        if len(request.prompt) + request.max_tokens > self._context:
            why = f"prompt and answer exceed the context of {self._context} tokens"
            self._events.put(Event(request.id, (), time.monotonic(), "failed", why))
            return
        self._cancelled[request.id] = cancelled = threading.Event()
        threading.Thread(target=self._stream, args=(request, cancelled), daemon=True).start()

    def cancel(self, id: str) -> None:
        cancelled = self._cancelled.get(id)
        if cancelled is not None:
            cancelled.set()

    def poll(self, wait_s: float) -> list[Event]:
        found: list[Event] = []
        try:
            found.append(self._events.get(timeout=wait_s))
            while True:
                found.append(self._events.get_nowait())
        except queue.Empty:
            pass
        for event in found:
            if event.finish:
                self._cancelled.pop(event.id, None)
        return found

    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
        scores = []
        for at, token in enumerate(answer):
            body = self._body([*prompt, *answer[:at]], 1, ())
            body |= {"n_probs": 1, "logit_bias": [[token, FORCE]], "cache_prompt": True}
            body["response_fields"] = ["completion_probabilities"]
            told = self._ask(body)["completion_probabilities"]
            if not told or told[0]["id"] != token:
                raise EngineError(f"llamacpp did not score the token {token}", try_="another engine")
            scores.append(float(told[0]["logprob"]))
        return scores

    def memory_peak_gib(self) -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts KiB

    def close(self) -> None:
        for cancelled in self._cancelled.values():
            cancelled.set()
        del self._server

    def _body(self, ids: Sequence[int], max_tokens: int, stop: tuple[int, ...]) -> dict[str, Any]:
        return {
            "prompt": list(ids),
            "n_predict": max_tokens,
            "temperature": 0.0,
            "samplers": ["temperature"],
            "return_tokens": True,
            "cache_prompt": self._cache,
            "ignore_eos": not stop,
        }

    def _open(self, body: dict[str, Any]) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        connection.request("POST", "/completion", json.dumps(body), self._headers)
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            # The server's message may quote the prompt: only its kind is passed on.
            raise EngineError(f"llamacpp refused the request with status {response.status}")
        return connection, response

    def _ask(self, body: dict[str, Any]) -> dict[str, Any]:
        connection, response = self._open(body)
        try:
            found: dict[str, Any] = json.loads(response.read())
        finally:
            connection.close()
        return found

    def _stream(self, request: Request, cancelled: threading.Event) -> None:
        try:
            self._follow(request, cancelled)
        except (OSError, http.client.HTTPException, ValueError, KeyError, EngineError) as error:
            why = str(error) if isinstance(error, EngineError) else type(error).__name__
            self._events.put(Event(request.id, (), time.monotonic(), "failed", why))

    def _follow(self, request: Request, cancelled: threading.Event) -> None:
        body = self._body(request.prompt, request.max_tokens, request.stop) | {"stream": True}
        connection, response = self._open(body)
        made: list[int] = []
        lost = False
        finish: Finish | None = None
        total = 0
        try:
            for chunk in _chunks(response):
                if cancelled.is_set():
                    finish = "cancelled"
                    break
                total = int(chunk["tokens_predicted"])
                if chunk["stop"]:
                    finish = "stop" if chunk["stop_type"] == "eos" else "length"
                    break
                new = chunk["tokens"]
                # llama.cpp holds back a token that ends inside a character, and then forgets its id.
                if not lost and len(made) + len(new) < total:
                    found = self._pieces.split(chunk["content"], total - len(made) - len(new), new)
                    lost, new = found is None, found or ()
                if not lost and self._tell(request, made, new):
                    finish = "stop"
                    break
        finally:
            connection.close()  # a request that is still running ends when its reader goes away
        if finish is None:
            raise EngineError("llamacpp broke off the answer")
        if finish in ("stop", "length") and len(made) < total and not (made and made[-1] in request.stop):
            self._repair(request, made, total)
        self._events.put(Event(request.id, (), time.monotonic(), finish))

    def _repair(self, request: Request, made: list[int], total: int) -> None:
        """Ask again, not as a stream, for the tokens at the end whose ids the stream did not tell."""
        body = self._body([*request.prompt, *made], total - len(made), request.stop)
        body |= {"cache_prompt": True, "response_fields": ["tokens"]}
        self._tell(request, made, self._ask(body)["tokens"])

    def _tell(self, request: Request, made: list[int], new: Sequence[int]) -> bool:
        """Hand out new tokens up to a stop token; true when there was one."""
        for at, token in enumerate(new):
            if token in request.stop:
                new, stopped = new[:at], True
                break
        else:
            stopped = False
        made += new
        if new:
            self._events.put(Event(request.id, tuple(new), time.monotonic()))
        return stopped


def _chunks(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """The events of a stream."""
    while line := response.readline():
        if line.startswith(b"data: "):
            yield json.loads(line[6:])
        elif line.startswith(b"error: "):
            raise EngineError("llamacpp failed while it answered")
