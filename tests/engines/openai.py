"""A plain OpenAI server of completions on the tiny model, and llama.cpp's and vLLM's own beside it."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.servers import port, started
from tokenizers import Tokenizer

from modelyard import environments
from modelyard.engines import Request, complete
from modelyard.engines.torch_engine import TorchEngine

LLAMACPP = """
import sys, xllamacpp, threading
model, port, key, callers, tokens, threads = sys.argv[1:]
params = xllamacpp.CommonParams()
params.model.path, params.model_alias, params.port = model, {"tiny"}, int(port)
params.n_parallel, params.n_ctx, params.api_keys = int(callers), int(callers) * int(tokens), [key]
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(threads)
params.hostnames, params.offline, params.fit_params, params.verbosity = ["127.0.0.1"], True, False, -1
server = xllamacpp.Server(params)
print("listening on", server.listening_address, flush=True)
threading.Event().wait()
"""


class Plain:
    """What such a server is like: `ids` taken, `echo` with log-probabilities given, a key wanted."""

    def __init__(self, model: Path, *, ids: bool, echo: bool, key: str = "", ends: int | None = None) -> None:
        self.engine = TorchEngine(model, threads=1, callers=1, context_tokens=512)
        self.tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        self.ids, self.echo, self.key, self.ends = ids, echo, key, ends
        self.lock = threading.Lock()
        self.asked: list[dict[str, Any]] = []

    def completion(self, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """The choice that answers; None for what this server does not take."""
        given = body["prompt"]
        if (isinstance(given, list) and not self.ids) or (body.get("echo") and not self.echo):
            return None
        ids = given if isinstance(given, list) else self.tokenizer.encode(given).ids
        stop = tuple(self.tokenizer.token_to_id(word) for word in body.get("stop") or ())
        limit = self.ends or body["max_tokens"]
        with self.lock:
            (done,) = complete(self.engine, [Request("r", tuple(ids), limit, stop)], callers=1, limit_s=60)
            chances = self.engine.score(ids[:1], [*ids[1:], *done.tokens]) if body.get("echo") else []
        early = self.ends is not None and self.ends < body["max_tokens"]
        choice: dict[str, Any] = {
            "text": self.tokenizer.decode(list(done.tokens), skip_special_tokens=False),
            "finish_reason": "stop" if early else done.finish,
        }
        if body.get("echo"):
            choice["logprobs"] = {"token_logprobs": [None, *chances]}
        return choice


@contextmanager
def plain(server: Plain) -> Iterator[str]:
    """The server on a port of its own: its URL, up to /v1."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            if self.allowed():
                self.say(200, {"data": [{"id": "tiny", "owned_by": "somebody", "max_model_len": 512}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.asked.append(body)
            if not self.allowed():
                return
            choice = server.completion(body)
            if choice is None:
                self.say(400, {"error": {"message": "not supported"}})
            elif body.get("stream"):
                self.send_response(200)
                self.end_headers()
                pieces = [
                    dict(choice, finish_reason=None),
                    {"text": "", "finish_reason": choice["finish_reason"]},
                ]
                for piece in pieces:
                    self.wfile.write(f"data: {json.dumps({'choices': [piece]})}\n\n".encode())
                self.wfile.write(b"data: [DONE]\n\n")
            else:
                self.say(200, {"choices": [choice]})

        def allowed(self) -> bool:
            if server.key and self.headers.get("Authorization") != f"Bearer {server.key}":
                self.say(401, {"error": {"message": "no"}})
                return False
            return True

        def say(self, status: int, body: Mapping[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/v1"
    finally:
        http.shutdown()
        http.server_close()


@contextmanager
def llamacpp(file: Path, key: str, *, callers: int = 2, tokens: int = 512, threads: int = 1) -> Iterator[str]:
    """llama.cpp's own server in a process of its own, with room for `tokens` a caller."""
    numbers = map(str, (callers, tokens, threads))
    command = [sys.executable, "-c", LLAMACPP, str(file), str(port()), key, *numbers]
    with started(command, r"listening on (\S+)") as (url, _):
        yield f"{url}/v1"


@contextmanager
def vllm(folder: Path, key: str) -> Iterator[str]:
    """vLLM's own server, in its environment."""
    at = port()
    command = [str(environments.one("vllm").python), "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(folder), "--served-model-name", "tiny", "--host", "127.0.0.1"]
    command += ["--port", str(at), "--api-key", key, "--dtype", "float32", "--enforce-eager"]
    command += ["--max-model-len", "512", "--gpu-memory-utilization", "0.2"]
    more = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1"}
    with started(command, "(Application startup complete)", more):
        yield f"http://127.0.0.1:{at}/v1"
