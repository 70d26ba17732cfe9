"""The image is built, started as its own user, and asked over HTTP; it writes to /data alone.

It needs buildah, a base image (MODELYARD_BASE) and a package index: docs/packages.md says how.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.line.conftest import Made

from modelyard.packages.docker import BUILDAH

BASE = os.environ.get("MODELYARD_BASE", "")
MOST_MB = 600
PRICES = """
prices:
  currency: USD
  plans: {starter: {monthly: 1, included_tokens: 1000, per_million_input: 1, per_million_output: 1}}
"""

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
    """A container of the tiny desk's image, with a plan to ask by."""
    folder = shutil.copytree(desk.folder, tmp_path / "desk")
    with (folder / "modelyard.yaml").open("a", encoding="utf-8") as project:
        project.write(PRICES)
    command = [sys.executable, "-m", "modelyard", "package", str(tmp_path / "out"), "--base", BASE]
    subprocess.run([*command, "--build", "modelyard-test", "--project", str(folder)], check=True)
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
    server = subprocess.Popen([*run, "/opt/modelyard/entry.sh"])
    try:
        wait()
        entry = [*run, "/opt/modelyard/entry.sh"]
        create = [*entry, "keys", "create", "--customer", "acme", "--plan", "starter", "--json"]
        made = subprocess.run(create, capture_output=True, text=True, check=True).stdout
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
    """Until the service says that it is ready."""
    for _ in range(60):
        with suppress(OSError, http.client.HTTPException):
            if say("GET", "/readyz") is not None:
                return
        time.sleep(1)
    raise AssertionError("the service did not start")


def ask(key: str) -> Any:
    """The answer to a question."""
    messages = [{"role": "user", "content": "What does the anvil cost?"}]
    return say("POST", "/v1/chat/completions", {"model": "desk", "messages": messages}, key)


def say(method: str, path: str, body: object = None, key: str = "") -> Any:
    """The JSON that the service answers; None for another status than 200."""
    link = http.client.HTTPConnection("127.0.0.1", 8000, timeout=60)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    link.request(method, path, None if body is None else json.dumps(body), headers)
    answer = link.getresponse()
    said = answer.read()
    link.close()
    return json.loads(said) if answer.status == http.HTTPStatus.OK else None
