"""OpenAI's own JavaScript client, unchanged."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from tests.serve.service import Service

FOLDER = Path(__file__).with_name("javascript")


@pytest.fixture(scope="module")
def installed() -> Path:
    """The client's package beside its script; fetched once, and kept."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs node and npm")
    if not (FOLDER / "node_modules" / "openai" / "package.json").is_file():
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=240)
        if done.returncode:
            pytest.skip(f"npm cannot install the client: {done.stderr.strip().splitlines()[-1:]}")
    return FOLDER / "ask.mjs"


@pytest.fixture(scope="module")
def told(installed: Path, service: Service, key: str) -> dict[str, Any]:
    done = subprocess.run(
        ["node", str(installed), service.url, key], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_models_and_a_plain_answer(told: dict[str, Any]) -> None:
    assert told["models"] == ["desk"]
    assert (told["plain"]["text"], told["plain"]["finish"]) == ("user\nHello there", "stop")


def test_a_stream_has_the_same_text_and_usage(told: dict[str, Any]) -> None:
    assert told["stream"] == {"text": told["plain"]["text"], "usage": told["plain"]["usage"]}


def test_a_length(told: dict[str, Any]) -> None:
    assert told["cut"] == {"finish": "length", "tokens": 2}


def test_errors_are_the_client_s_own(told: dict[str, Any]) -> None:
    assert (told["n"]["kind"], told["n"]["status"], told["n"]["param"]) == ("BadRequestError", 400, "n")
    assert (told["key"]["kind"], told["key"]["code"]) == ("AuthenticationError", "invalid_api_key")
    assert (told["model"]["kind"], told["model"]["code"]) == ("NotFoundError", "model_not_found")


def test_a_stream_that_is_broken_off_is_billed_for_what_was_written(
    told: dict[str, Any], service: Service
) -> None:
    until = time.monotonic() + 10
    while service.events()[-1]["finish"] != "cancelled":
        assert time.monotonic() < until
        time.sleep(0.05)
    assert 0 < service.events()[-1]["output_tokens"] < 150
