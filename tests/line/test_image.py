"""The image is built, started as its own user, and asked over HTTP; it writes to /data alone.

It needs buildah, a base image (MODELYARD_BASE) and a package index: docs/packages.md says how.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.line.conftest import Made

from modelyard.packages.docker import BUILDAH

BASE = os.environ.get("MODELYARD_BASE", "")
URL = "http://127.0.0.1:8000"
MOST_MB = 600

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(
        not BASE or shutil.which("buildah") is None, reason="no buildah, or no MODELYARD_BASE"
    ),
]


def buildah(*arguments: str) -> str:
    return subprocess.run([*BUILDAH, *arguments], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def container(desk: Made, tmp_path: Path) -> Iterator[str]:
    """A container of the tiny desk's image."""
    command = [sys.executable, "-m", "modelyard", "package", str(tmp_path / "out"), "--base", BASE]
    subprocess.run([*command, "--build", "modelyard-test", "--project", str(desk.folder)], check=True)
    name = buildah("from", "localhost/modelyard-test")
    yield name
    buildah("rm", name)
    buildah("rmi", "localhost/modelyard-test")


def test_the_image_answers_as_its_own_user_and_writes_nowhere_else(container: str) -> None:
    root = Path(buildah("mount", container))
    before = contents(root)
    size = sum(path.lstat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    assert size / 1e6 < MOST_MB
    assert not list(root.rglob("dist-packages/torch"))
    run = [*BUILDAH, "run", "--isolation", "chroot", container, "--"]
    server = subprocess.Popen([*run, "/opt/modelyard/entry.sh"], stderr=subprocess.DEVNULL)
    try:
        wait()
        entry = [*run, "/opt/modelyard/entry.sh", "keys", "create", "--customer", "acme", "--json"]
        made = subprocess.run(entry, capture_output=True, text=True, check=True).stdout
        key = json.loads(made)["result"]["key"]
        assert ask(key)["usage"]["total_tokens"] >= 0
        users = [process for process in Path("/proc").glob("[0-9]*") if serves(process)]
        assert {process.stat().st_uid for process in users} == {10001}
    finally:
        subprocess.run(["pkill", "-f", "modelyard serve --host 0.0.0.0"], check=False)
        server.wait(30)
    assert contents(root) == before


def contents(root: Path) -> set[tuple[str, int]]:
    """Files outside of what may be written to, with their size."""
    mine = (
        root / "data",
        root / "tmp",
        root / "proc",
        root / "sys",
        root / "dev",
        root / "run",
        root / "etc",
    )
    return {
        (str(path), path.lstat().st_size)
        for path in root.rglob("*")
        if path.is_file() and not any(path.is_relative_to(place) for place in mine)
    }


def serves(process: Path) -> bool:
    try:
        return b"modelyard\0serve" in (process / "cmdline").read_bytes()
    except OSError:
        return False


def wait() -> None:
    """Until the service says that it is healthy."""
    for _ in range(60):
        try:
            with urllib.request.urlopen(f"{URL}/health", timeout=2):
                return
        except OSError:
            time.sleep(1)
    raise AssertionError("the service did not start")


def ask(key: str) -> dict[str, dict[str, int]]:
    body = {"model": "desk", "messages": [{"role": "user", "content": "What does the anvil cost?"}]}
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{URL}/v1/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        told: dict[str, dict[str, int]] = json.load(answer)
        return told
