"""What the pages say is what the code does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from modelyard.cli.main import VERBS

ROOT = Path(__file__).parent.parent


def test_the_reference_pages_are_made_from_the_code() -> None:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    for path, text in ((reference.TARGET, reference.page()), (reference.OPENAPI, reference.openapi())):
        assert path.read_text("utf-8") == text, "run `python docs/reference.py`"


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_readmes_layout_is_the_folders(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    named = set(re.findall(r"^\| `src/modelyard/([a-z]+(?:\.py|/))` \|", text, re.MULTILINE))
    package = ROOT / "src" / "modelyard"
    there = {f"{p.name}/" for p in package.iterdir() if p.is_dir() and p.name != "__pycache__"}
    there |= {p.name for p in package.glob("*.py") if not p.name.startswith("__")}
    assert named == there


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_readme_names_every_verb(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    for verb in VERBS:
        assert f"`{verb}" in text or f"modelyard {verb}" in text, verb


def test_coverage_has_a_line_for_every_part() -> None:
    text = (ROOT / "docs" / "coverage.md").read_text("utf-8")
    for promise in ("1.1", "1.9", "2.1", "2.6", "3.1", "3.9", "4.1", "5.6", "6.6", "7.3", "8.4"):
        assert promise in text


def test_no_page_names_a_path_of_a_developers_machine() -> None:
    for path in ROOT.rglob("*.md"):
        if not {".venv", ".env", "build", ".yard", "node_modules"} & set(path.parts):
            assert not re.search(r"/(work|home|root|tmp)/[a-z]", path.read_text("utf-8")), path
