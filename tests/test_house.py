"""The house stands as the design draws it: arrows, sizes, names, quiet imports."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "modelyard"
LONGEST = 400

STEP_ROOMS = {"data", "train", "optimize", "verify", "release"}
# Room -> the rooms that it may import; a step room's settings.py is open to flow and project.py.
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "machine": {"errors"},
    "prompt": {"errors"},
    "general": set(),
    "chart": set(),
    "signing": {"errors", "records"},
    "intervals": set(),
    "grounding": {"errors", "prompt", "index"},
    "records": {"errors"},
    "index": {"errors", "intervals"},
    "environments": {"errors"},
    "engines": {"errors", "machine", "environments"},
    "data": {"records", "errors", "index", "intervals", "prompt"},
    "estimate": {"errors"},
    "train": {"records", "errors", "machine", "prompt", "general", "intervals", "estimate", "chart"},
    "optimize": {"records", "errors", "machine", "prompt", "intervals", "environments"},
    "verify": {
        *("records", "errors", "machine", "engines", "index", "intervals", "prompt", "grounding", "general"),
    },
    "release": {"records", "errors", "signing", "chart"},
    "bill": {"records", "errors"},
    "serve": {"records", "errors", "engines", "index", "machine", "prompt", "grounding", "bill", "signing"},
    "plan": {"records", "errors", "machine", "estimate", "intervals", "chart"},
    "packages": {"records", "errors", "engines", "signing"},
    "project": {"errors", "records", "bill", "serve", "plan", *STEP_ROOMS},
    "flow": {"errors", "records", "machine", "project", "engines", *STEP_ROOMS},
    "cli": {
        *("errors", "records", "machine", "project", "flow", "engines", "index", "prompt", "grounding"),
        *("bill", "serve", "environments", "packages", "signing", "plan", "estimate"),
        *STEP_ROOMS,
    },
}
BANNED = {"utils", "util", "helpers", "helper", "common", "misc", "tools", "stuff"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(path: Path) -> set[tuple[str, ...]]:
    """The modelyard modules that a file imports, as parts below the package."""
    here = ("modelyard", *path.relative_to(PACKAGE).with_suffix("").parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            module = tuple(node.module.split(".")) if node.module else ()
            if node.level:
                module = (*here[: len(here) - node.level], *module)
            if module[:1] != ("modelyard",):
                continue
            if len(module) == 1:
                found |= {(alias.name,) for alias in node.names if alias.name != "__version__"}
            else:
                found.add(module[1:])
        elif isinstance(node, ast.Import):
            found |= {tuple(a.name.split(".")[1:]) for a in node.names if a.name.startswith("modelyard.")}
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows_point_one_way(path: Path) -> None:
    here = room(path)
    if here in ("__init__", "__main__"):
        return
    wrong = {parts for parts in imported(path) if parts[0] != here and parts[0] not in ARROWS[here]}
    assert not wrong, f"{here} must not import {wrong}"


def test_the_project_file_reads_only_the_settings_of_rooms() -> None:
    rooms = {parts for parts in imported(PACKAGE / "project.py") if parts[0] in STEP_ROOMS}
    assert rooms
    assert all(parts[1:] == ("settings",) for parts in rooms)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_is_a_room_not_a_hall(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= LONGEST


def test_names_say_what_is_inside() -> None:
    names = {part for path in modules() for part in path.relative_to(PACKAGE).with_suffix("").parts}
    assert not names & BANNED


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not done.stderr
    return done.stdout


def test_importing_a_module_says_and_starts_nothing() -> None:
    names = [
        ".".join(("modelyard", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for path in modules()
        if path.name != "__main__.py"
    ]
    out = python(
        "import importlib, threading\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
    )
    assert out == ""


HEAVY = {
    "torch",
    "transformers",
    "numpy",
    "peft",
    "openvino",
    "openvino_genai",
    "xllamacpp",
    "gguf",
    "alembic",
    "scipy",
}


def test_help_imports_nothing_but_the_command_line() -> None:
    out = python(
        "import sys, json\n"
        "sys.argv = ['modelyard', '--help']\n"
        "from modelyard.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    loaded = set(json.loads(out.splitlines()[-1]))
    assert not loaded & (HEAVY | {"sqlalchemy", "pydantic", "yaml", "rich", "jinja2", "tokenizers"})


@pytest.mark.parametrize("room", sorted(STEP_ROOMS))
def test_reading_a_rooms_settings_loads_nothing_heavy(room: str) -> None:
    out = python(f"import sys, json, modelyard.{room}.settings\nprint(json.dumps(sorted(sys.modules)))")
    assert not {name.partition(".")[0] for name in json.loads(out)} & HEAVY
