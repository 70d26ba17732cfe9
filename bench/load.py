"""Load from outside: wrk (compiled) against an address, and the CPU time of the process behind it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from modelyard.errors import MissingPackage

# Each connection goes through the bodies in turn; answers that are not 200 are counted by wrk.
SCRIPT = """
local bodies = {%s}
local at = 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer %s"
request = function()
  at = at %% #bodies + 1
  return wrk.format(nil, nil, nil, bodies[at])
end
"""
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw: good answers a second, the median in milliseconds, bad answers, CPU behind it."""

    per_s: float
    median_ms: float
    bad: int
    cpu_ms: float  # of the process, an answer


def load(url: str, bodies: Sequence[str], *, key: str, callers: int, seconds: int, process: int) -> Load:
    """Ask `url` from `callers` connections for so long; `process` answers, its children not counted.

    Raises MissingPackage without wrk.
    """
    if shutil.which("wrk") is None:
        raise MissingPackage("the load is made by wrk, which is not installed", try_="apt install wrk")
    quoted = ", ".join(f"[==[{body}]==]" for body in bodies)
    behind = psutil.Process(process)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT % (quoted, key))
        script.flush()
        before = _cpu_s(behind)
        said = subprocess.run(
            f"wrk -t1 -c{callers} -d{seconds}s --timeout 30s --latency -s {script.name} {url}".split(),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        spent = _cpu_s(behind) - before
    requests = int(_find(r"(\d+) requests in", said))
    bad = int(_find(r"Non-2xx or 3xx responses: (\d+)", said) or 0)
    took = _ms(_find(r"requests in ([\d.]+[a-z]+)", said)) / 1e3
    return Load(
        per_s=(requests - bad) / took,
        median_ms=_ms(_find(r"50%\s+([\d.]+[a-z]+)", said)),
        bad=bad,
        cpu_ms=1e3 * spent / max(1, requests),
    )


def question(model: str, text: str, max_tokens: int) -> str:
    """The body of a chat completion."""
    messages = [{"role": "user", "content": text}]
    return json.dumps({"model": model, "messages": messages, "max_tokens": max_tokens})


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else ""


def _ms(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)([a-z]+)", text).groups()  # type: ignore[union-attr]
    return float(number) * _UNITS[unit]


def folder(path: str) -> Path:
    """A place beside this file."""
    return Path(__file__).parent / path
