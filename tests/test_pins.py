"""A step's VERSION moves when its results can: the code behind each step is pinned.

A change of code asks: do results change? Then raise the version in the room's settings.py, so that old
records are made again. If not, re-pin with `python tests/test_pins.py`.
"""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path

import pytest

from modelyard.flow.steps import STEPS
from modelyard.records.shapes import Step

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "modelyard"
PINS = Path(__file__).parent / "pins" / "steps.json"

# Every record depends on these through the store; a change there is a change of the ledger, not of results.
OUTSIDE = {"modelyard.records.ledger", "modelyard.records.tables", "modelyard.records.audit"}


def path_of(module: str) -> Path | None:
    place = PACKAGE.joinpath(*module.split(".")[1:])
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            return path
    return None


def imports(module: str, path: Path) -> set[str]:
    """Modules of the package that `module` imports, or names as a text that is imported later."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(
                    [*package[: len(package) - node.level + 1], *(base.split(".") if base else [])]
                )
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value.partition(":")[0])
    return {name for name in found if name.startswith("modelyard.") and path_of(name)}


def behind(step: Step) -> list[str]:
    """Every module that the step's code reaches. Entries of other steps, named in settings, do not count."""
    entries = {other.entry.partition(":")[0] for other in STEPS.values()} - {step.entry.partition(":")[0]}
    seen: set[str] = set()
    waiting = [step.entry.partition(":")[0]]
    while waiting:
        module = waiting.pop()
        path = path_of(module)
        if module in seen or module in OUTSIDE or module in entries or path is None:
            continue
        seen.add(module)
        waiting += imports(module, path)
    return sorted(seen)


def meaning(path: Path) -> str:
    """The code without comments, docstrings and layout."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [  # type: ignore[attr-defined]
                line
                for line in body
                if not (isinstance(line, ast.Expr) and isinstance(getattr(line.value, "value", None), str))
            ]
    return ast.unparse(tree)


def pin(step: Step) -> dict[str, object]:
    sha = hashlib.sha256()
    for module in behind(step):
        path = path_of(module)
        if path is not None:
            sha.update(f"{module}\n{meaning(path)}\n".encode())
    return {"version": step.version, "code": sha.hexdigest()[:16]}


@pytest.mark.parametrize("name", STEPS)
def test_the_code_behind_a_step_is_pinned_with_its_version(name: str) -> None:
    pinned = json.loads(PINS.read_text("utf-8"))
    assert pin(STEPS[name]) == pinned[name], (
        f"the code behind {name} changed: raise its version if results change, "
        "then `python tests/test_pins.py` pins it again"
    )


def test_the_fingerprint_sees_code_and_not_words(tmp_path: Path) -> None:
    def of(text: str) -> str:
        path = tmp_path / "m.py"
        path.write_text(text)
        return meaning(path)

    plain = of("def f(x):\n    return x + 1\n")
    assert plain == of('"""Doc."""\n\ndef f(x):\n    """Doc."""\n    # why\n    return (x + 1)\n')
    assert plain != of("def f(x):\n    return x + 2\n")


def test_a_steps_code_reaches_what_it_imports_late() -> None:
    assert "modelyard.prompt" in behind(STEPS["train.tune"])
    assert "modelyard.engines.openvino" in behind(STEPS["verify.measure"])


if __name__ == "__main__":
    PINS.write_text(json.dumps({name: pin(step) for name, step in STEPS.items()}, indent=1) + "\n", "utf-8")
