"""Nothing reaches out: the whole line, engines and all, under a library that sees every connection."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.line.desk import write_desk

COMPILER = shutil.which("cc") or shutil.which("gcc")


@pytest.fixture
def watched(tmp_path: Path) -> dict[str, str]:
    """An environment in which every connection that would leave the machine is written down and refused."""
    if COMPILER is None:
        pytest.skip("needs a C compiler")
    library = tmp_path / "outbound.so"
    source = Path(__file__).with_name("outbound.c")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    switches = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "CI")
    plain = {name: value for name, value in os.environ.items() if name not in switches}
    return {**plain, "LD_PRELOAD": str(library), "OUTBOUND_LOG": str(tmp_path / "log")}


def test_the_watch_sees_a_connection(watched: dict[str, str]) -> None:
    code = (
        "import socket\n"
        "for call in (lambda: socket.create_connection(('192.0.2.1', 80), 1),\n"
        "             lambda: socket.getaddrinfo('example.invalid', 80),\n"
        "             lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.2', 53))):\n"
        "    try: call()\n"
        "    except OSError: pass\n"
    )
    subprocess.run([sys.executable, "-c", code], env=watched, check=True)
    seen = Path(watched["OUTBOUND_LOG"]).read_text("ascii").splitlines()
    assert seen == ["connect 192.0.2.1", "getaddrinfo example.invalid", "sendto 192.0.2.2"]


def test_the_whole_line_and_an_answer_reach_nobody(watched: dict[str, str], tmp_path: Path) -> None:
    folder = write_desk(tmp_path / "desk")
    project = folder / "modelyard.yaml"
    few, every = (
        "files: [gguf Q8_0, gguf Q4_0]",
        "files: [openvino int8, openvino int4, onnx int8, onnx int4]",
    )
    text = project.read_text("utf-8").replace("engines: [openvino, llamacpp]", "engines: [openvino, onnx]")
    assert few in text
    project.write_text(text.replace(few, every), "utf-8")
    for arguments in (["up"], ["try", "What does the anvil cost?"], ["doctor"]):
        done = subprocess.run(
            [sys.executable, "-m", "modelyard", *arguments],
            cwd=folder,
            env=watched,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    log = Path(watched["OUTBOUND_LOG"])
    assert not log.exists(), log.read_text("ascii")
