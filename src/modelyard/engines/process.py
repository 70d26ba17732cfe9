"""An engine as its caller sees it: a child process that may crash or hang without harm."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import environments, errors
from ..errors import EngineCrashed, EngineError, EngineHung, ModelyardError
from .frames import Frames
from .menu import EngineSpec
from .protocol import Event, Request

TAIL_BYTES = 4096  # of the child's output, for the message when it dies
TAIL_LINES = 5
CLOSE_S = 2.0  # for an orderly end; after it the process is killed
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # The one variable that silences openvino_telemetry (utils/opt_in_checker.py, _run_in_ci).
    "CI": "true",
    "PYTHONUNBUFFERED": "1",
}


# libgomp lets its threads spin 300,000 times at each barrier, which on cores shared with anything else made
# llama.cpp eight times slower (1.4 against 11 tokens/s); 1000 is its own choice for crowded cores.
SHARING = {"GOMP_SPINCOUNT": "1000"}


class EngineProcess:
    """The Engine protocol over a socket. Not thread-safe."""

    def __init__(
        self,
        spec: EngineSpec,
        model: Path,
        options: Mapping[str, Any],
        *,
        limit_s: float,
        quiet: bool = False,
    ) -> None:
        self.name = spec.name
        self.gives = spec.gives
        self._limit_s = limit_s
        self._events: list[Event] = []
        self._active: set[str] = set()
        self._peak_gib = 0.0
        self._is_ours = True
        ours, theirs = socket.socketpair()
        alive, self._alive = os.pipe()
        with theirs:
            # Threads of OpenMP and torch are counted when the process starts.
            threads = {key: str(options["threads"]) for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
            self._child = subprocess.Popen(
                [*_worker(spec.environment), str(theirs.fileno()), str(alive)],
                pass_fds=(theirs.fileno(), alive),
                env={**SHARING, **os.environ, **QUIET, **threads, **_import_path(spec.environment)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if quiet else subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C goes to us, and we end the child
            )
        os.close(alive)
        self._link = ours
        self._frames = Frames(ours)
        self._output = bytearray()
        self._drain = threading.Thread(target=self._keep_tail, daemon=True)
        self._drain.start()
        self._heard = time.monotonic()
        try:
            self._send({"module": spec.module, "model": str(model), "options": dict(options)})
            told = self._answer("ready", max(spec.loads_s, limit_s))
            self.gives = frozenset(told["gives"])
            self._is_ours = bool(told["memory"])
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._child.pid

    def fileno(self) -> int:
        """What to wait on, beside other things, before `poll(0)`; -1 when the child has ended."""
        return self._link.fileno()

    def submit(self, request: Request) -> None:
        if not self._active:
            self._heard = time.monotonic()
        self._active.add(request.id)
        self._send(
            {
                "do": "submit",
                "id": request.id,
                "prompt": request.prompt,
                "max_tokens": request.max_tokens,
                "stop": request.stop,
                **_how(request),
            }
        )

    def cancel(self, id: str) -> None:
        if id in self._active:
            self._send({"do": "cancel", "id": id})

    def poll(self, wait_s: float) -> list[Event]:
        if not self._events:
            self._receive(wait_s)
        found, self._events = self._events, []
        return found

    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
        self._heard = time.monotonic()
        self._send({"do": "score", "prompt": list(prompt), "answer": list(answer)})
        return [float(value) for value in self._answer("score")]

    def memory_peak_gib(self) -> float | None:
        if not self._is_ours:
            return None
        try:
            status = Path(f"/proc/{self._child.pid}/status").read_text("utf-8")
        except OSError:
            return self._peak_gib
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                self._peak_gib = int(line.split()[1]) / 2**20  # told in KiB
        return self._peak_gib

    def close(self) -> None:
        self.memory_peak_gib()
        if self._alive < 0:
            return
        try:
            self._send({"do": "close"})
            self._child.wait(CLOSE_S)
        except (EngineCrashed, subprocess.TimeoutExpired):
            pass
        self._end()

    def _end(self) -> None:
        """Make sure that the child is gone, and let go of what belonged to it."""
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait()
        self._drain.join(CLOSE_S)
        self._link.close()
        if self._alive >= 0:
            os.close(self._alive)
            self._alive = -1

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._frames.send(message)
        except OSError:
            raise self._crash() from None

    def _receive(self, wait_s: float, limit_s: float | None = None) -> dict[str, Any] | None:
        """Take in what has come within `wait_s`; events are kept, another answer is returned."""
        waiting = time.monotonic() - self._heard
        if self._link.fileno() < 0:
            raise EngineCrashed(f"the engine {self.name} has ended", try_="start it again")
        most = (self._limit_s if limit_s is None else limit_s) - waiting
        ready, _, _ = select.select([self._link], [], [], max(0.0, min(wait_s, most)))
        if not ready:
            if self._active and time.monotonic() - self._heard >= self._limit_s:
                raise self._hang()
            return None
        messages = self._frames.receive()
        if messages is None:
            raise self._crash()
        answer = None
        for message in messages:
            self._heard = time.monotonic()
            if "events" in message:
                for id, tokens, at, finish, error, logprobs in message["events"]:
                    self._events.append(Event(id, tuple(tokens), at, finish, error, tuple(logprobs)))
                    if finish:
                        self._active.discard(id)
            else:
                answer = message
        return answer

    def _answer(self, kind: str, limit_s: float | None = None) -> Any:
        limit_s = self._limit_s if limit_s is None else limit_s
        while True:
            message = self._receive(limit_s, limit_s)
            if message is not None and "error" in message:
                raise _error(message["error"])
            if message is not None and kind in message:
                return message[kind]
            if time.monotonic() - self._heard >= limit_s:
                raise self._hang()

    def _crash(self) -> EngineCrashed:
        try:
            code = self._child.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            code = 0
        self._end()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        tail = " | ".join(self._output.decode("utf-8", "replace").split("\n")[-TAIL_LINES - 1 :]).strip(" |")
        said = f"; its last words: {tail}" if tail else ""
        advice = "another engine, fewer callers or more memory"
        return EngineCrashed(f"the engine {self.name} {how}{said}", try_=advice)

    def _hang(self) -> EngineHung:
        self.memory_peak_gib()
        self._end()
        return EngineHung(
            f"the engine {self.name} has been silent for {self._limit_s:g} s and was killed",
            try_="another engine, or fewer callers",
        )

    def _keep_tail(self) -> None:
        stream = self._child.stdout
        while stream is not None and (data := os.read(stream.fileno(), 1 << 16)):
            self._output += data
            del self._output[:-TAIL_BYTES]
        if stream is not None:
            stream.close()


def _how(request: Request) -> dict[str, Any]:
    """How tokens are chosen, where that is not greedily and freely."""
    told: dict[str, Any] = {}
    if request.temperature > 0:
        told |= {"temperature": request.temperature, "top_p": request.top_p, "seed": request.seed}
    if request.logprobs:
        told["logprobs"] = True
    if request.schema is not None:
        told["schema"] = request.schema
    return told


def _worker(environment: str) -> list[str]:
    """What runs the worker: this interpreter, or that of the engine's own environment."""
    module = "modelyard.engines.worker"
    return environments.command(environment, module) if environment else [sys.executable, "-P", "-m", module]


def _import_path(environment: str) -> dict[str, str]:
    """Where the child finds this package when it runs from a source tree; nowhere in another environment."""
    if environment:
        return {"PYTHONPATH": ""}
    root = Path(__file__).resolve().parents[2]
    if "site-packages" in root.parts:
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))}


def _error(told: Mapping[str, str]) -> ModelyardError:
    """The error that the child met, as the class that it was there."""
    kind = getattr(errors, told["type"], EngineError)
    if not (isinstance(kind, type) and issubclass(kind, ModelyardError)):
        kind = EngineError
    return kind(told["what"], where=told["where"], try_=told["try"])
