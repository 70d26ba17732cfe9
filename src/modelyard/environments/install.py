"""Make an environment: a venv with pinned packages, whole or not there at all."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence

from ..errors import Busy, EngineError, NoRoom
from . import MARK, Environment, home

ROOM_GIB = 1.0  # besides the environment: pip unpacks a wheel before it moves it
TAIL_LINES = 3


def install(environment: Environment, tell: Callable[[str], None]) -> bool:
    """Install `environment`; False when it was there. `tell` hears pip's lines.

    A kill leaves a folder that counts as nothing and is made anew. Raises NoRoom before anything is fetched,
    Busy while another process installs it, EngineError when pip fails.
    """
    if environment.installed():
        return False
    home().mkdir(parents=True, exist_ok=True)
    with (home() / f"{environment.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another process installs {environment.name}", where=str(home())) from None
        free = shutil.disk_usage(home()).free / 2**30
        if free < environment.gib + ROOM_GIB:
            needed = environment.gib + ROOM_GIB
            raise NoRoom(f"{needed:.1f} GiB are needed, {free:.1f} GiB are free", where=str(home()))
        shutil.rmtree(environment.folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(environment.folder)], tell)
        pip = [str(environment.python), "-m", "pip", "install", "--disable-pip-version-check"]
        if environment.torch:
            index = os.environ.get("TORCH_INDEX_URL")
            _run([*pip, *(("--index-url", index) if index else ()), environment.torch], tell)
        _run([*pip, "--no-deps", "-r", str(environment.requirements)], tell)
        mark = environment.folder / MARK
        half = mark.with_suffix(".half")
        half.write_text(json.dumps({"requirements": environment.digest}) + "\n", "utf-8")
        os.replace(half, mark)
    return True


def _run(command: Sequence[str], tell: Callable[[str], None]) -> None:
    tail: list[str] = []
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith(("Collecting ", "Downloading ", "Installing ", "Building ", "ERROR")):
                    tell(line.strip())
                tail = [*tail, line.strip()][-TAIL_LINES:]
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise EngineError(
            f"the installation failed: {' | '.join(tail)}",
            try_="the same line again; what was fetched is kept by pip",
        )
