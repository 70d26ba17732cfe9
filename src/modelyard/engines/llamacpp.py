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
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import EngineError, need
from .pieces import Pieces
from .protocol import Engine, Event, Finish, Request

FORCE = 1e6  # added to a token's logit so that it is chosen; its log-probability is told from before that
ALL = 1 << 20  # alternatives told of: the whole vocabulary
TIMEOUT_S = 600.0  # an engine that hangs is killed from outside, by its worker's limit, long before


def start(model: Path, *, threads: int, callers: int, context_tokens: int, exact: bool = False) -> Engine:
    """The engine on a GGUF file. It quantises the activations that meet quantised weights: never exact."""
    return LlamaCpp(model, threads=threads, callers=callers, context_tokens=context_tokens)


class LlamaCpp:
    """A thread for each request under way reads its stream; `poll` hands out what they have read."""

    name = "llamacpp"
    gives = frozenset({"sampling", "seed", "json_schema"})

    def __init__(
        self, model: Path, *, threads: int, callers: int, context_tokens: int, prefix_caching: bool = False
    ) -> None:
        try:
            xllamacpp = need("xllamacpp", extra="llamacpp", for_="the engine llamacpp")
        except ImportError as error:  # the wheel wants the system's OpenMP library
            raise EngineError(f"llamacpp cannot be loaded: {error}", try_="apt install libgomp1") from None
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
            what = f"llamacpp cannot load the file: {error}"
            raise EngineError(what, where=str(model), try_="another engine") from None
        where = urlsplit(self._server.listening_address)
        self._host, self._port = str(where.hostname), int(where.port or 0)
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        self._pieces = Pieces(model)
        self._context = context_tokens
        self._cache = prefix_caching
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._running: dict[str, _Run] = {}

    def submit(self, request: Request) -> None:
        if len(request.prompt) + request.max_tokens > self._context:
            why = f"prompt and answer exceed the context of {self._context} tokens"
            self._events.put(Event(request.id, (), time.monotonic(), "failed", why))
            return
        self._running[request.id] = run = _Run(request)
        threading.Thread(target=self._stream, args=(run,), daemon=True).start()

    def cancel(self, id: str) -> None:
        run = self._running.get(id)
        if run is not None:
            run.cancel()

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
                self._running.pop(event.id, None)
        return found

    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
        return [self._score([*prompt, *answer[:at]], token) for at, token in enumerate(answer)]

    def _score(self, before: Sequence[int], token: int) -> float:
        """The log-probability of one token: it is forced, and told what it had been without force."""
        whole = self._pieces.id(b"a")
        # Nothing is told of a token that ends inside a character: it is sought beside a whole one.
        for forced, alternatives in ((token, 1), (whole, 64), (whole, ALL)):
            body = self._body(before, 1, ())
            body |= {"n_probs": alternatives, "logit_bias": [[forced, FORCE]], "ignore_eos": False}
            body |= {"cache_prompt": True, "response_fields": ["completion_probabilities"]}
            for told in self._ask(body).get("completion_probabilities", ()):
                for one in (told, *told["top_logprobs"]):
                    if one["id"] == token:
                        return float(one["logprob"])
        raise EngineError(f"llamacpp did not score the token {token}", try_="another engine")

    def memory_peak_gib(self) -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts KiB

    def close(self) -> None:
        for run in self._running.values():
            run.cancel()
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

    def _open(
        self, body: dict[str, Any], run: _Run | None = None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        connection.connect()
        if run is not None:  # before the prompt is read: that may take seconds, and can be cancelled too
            run.opened(connection.sock)
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

    def _stream(self, run: _Run) -> None:
        finish: Finish = "failed"
        why = ""
        try:
            finish = self._follow(run)
        except (OSError, http.client.HTTPException, ValueError, KeyError, EngineError) as error:
            why = str(error) if isinstance(error, EngineError) else type(error).__name__
        if run.cancelled:
            finish, why = "cancelled", ""
        self._events.put(Event(run.request.id, (), time.monotonic(), finish, why))

    def _follow(self, run: _Run) -> Finish:
        request = run.request
        body = self._body(request.prompt, request.max_tokens, request.stop) | run.how | {"stream": True}
        connection, response = self._open(body, run)
        told: list[int] = []  # ids known so far, the stop token among them
        total = 0
        lost = False
        finish: Finish | None = None
        try:
            for chunk in _chunks(response):
                total = int(chunk["tokens_predicted"])
                if chunk["stop"]:
                    finish = "stop" if chunk["stop_type"] == "eos" else "length"
                    break
                new: Sequence[int] = chunk["tokens"]
                # llama.cpp holds back a token that ends inside a character, and then forgets its id.
                if not lost and len(told) + len(new) < total:
                    found = self._pieces.split(chunk["content"], total - len(told) - len(new), new)
                    lost, new = found is None, found or ()
                if not lost and self._tell(request, told, new):
                    finish = "stop"
                    break
        finally:
            connection.close()  # a request that is still running ends when its reader goes away
        if finish is None:
            raise EngineError("llamacpp broke off the answer")
        if len(told) < total and self._repair(run, told, total):
            finish = "stop"
        return finish

    def _repair(self, run: _Run, told: list[int], total: int) -> bool:
        """Ask again, not as a stream, for the tokens at the end whose ids the stream did not tell.

        What was drawn or held to a schema is asked for from its start, with the seed that it had.
        """
        request, again = run.request, len(told) if run.how else 0
        before = [] if run.how else told
        body = self._body([*request.prompt, *before], total - len(before), request.stop) | run.how
        body |= {"cache_prompt": True, "response_fields": ["tokens"]}
        return self._tell(request, told, self._ask(body)["tokens"][again:])

    def _tell(self, request: Request, told: list[int], new: Sequence[int]) -> bool:
        """Hand out new tokens up to a stop token; true when there was one."""
        ends = [at for at, token in enumerate(new) if token in request.stop]
        told += new[: ends[0] + 1] if ends else new
        if tokens := tuple(new[: ends[0]] if ends else new):
            self._events.put(Event(request.id, tokens, time.monotonic()))
        return bool(ends)


class _Run:
    """A request under way; cancelling it shuts its socket, which ends the server's work and our reading."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.how = _how(request)
        self.cancelled = False
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def opened(self, link: socket.socket) -> None:
        with self._lock:
            self._socket = link
            if self.cancelled:
                self._shut()

    def cancel(self) -> None:
        with self._lock:
            self.cancelled = True
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # it has ended by itself
                self._socket.shutdown(socket.SHUT_RDWR)


def _how(request: Request) -> dict[str, Any]:
    """The fields of drawing and of a schema, where the request asks for them."""
    how: dict[str, Any] = {}
    if request.temperature > 0:
        seed = secrets.randbits(32) if request.seed is None else request.seed
        how |= {"temperature": request.temperature, "top_p": request.top_p, "seed": seed}
        how |= {"samplers": ["temperature", "top_p"]}
    if request.schema is not None:
        how["json_schema"] = json.loads(request.schema)
    return how


def _chunks(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """The events of a stream."""
    while line := response.readline():
        if line.startswith(b"data: "):
            yield json.loads(line[6:])
        elif line.startswith(b"error: "):
            raise EngineError("llamacpp failed while it answered")
