"""A converter's library in a process of its own, silent to the network: what ends it does not end us."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import EngineError

# CI is the one variable that silences openvino_telemetry, which nncf uses (utils/opt_in_checker.py).
QUIET = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1", "CI": "true"}
LIMIT_S = 1800.0


def run(module: str, arguments: Sequence[str]) -> None:
    """Run a module of ours to its end. Raises EngineError with its last line if it fails."""
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", module, *arguments],
            env={**os.environ, **QUIET, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EngineError(f"{module} has not ended within {LIMIT_S:g} s") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise EngineError(lines[-1] if lines else f"{module} ended with code {done.returncode}")
