"""A release signed, packed and taken in elsewhere: what is not the signed one is not served."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.line.command import Command
from tests.line.conftest import Made

from modelyard.packages import bom
from modelyard.records.shapes import Record
from modelyard.records.yard import Yard
from modelyard.serve.app import ROUTES

pytest.importorskip("model_signing")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two key pairs of P-256; `a` has the password "open"."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    folder, found = tmp_path_factory.mktemp("keys"), {}
    for name, how in (("a", form.BestAvailableEncryption(b"open")), ("b", form.NoEncryption())):
        key = ec.generate_private_key(ec.SECP256R1())
        found[name] = folder / f"{name}.pem"
        found[name].write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, how))
        found[f"{name}.pub"] = folder / f"{name}.pub"
        public = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
        found[f"{name}.pub"].write_bytes(public)
    return found


@pytest.fixture
def copy(desk: Made, tmp_path: Path) -> Path:
    return Path(shutil.copytree(desk.folder, tmp_path / "desk"))


@pytest.fixture
def command(copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(copy, monkeypatch, capsys)


def demand(folder: Path, key: Path) -> None:
    """Have the project demand a signature by the key."""
    indented = "".join(f"    {line}\n" for line in key.read_text("utf-8").splitlines())
    project = folder / "modelyard.yaml"
    text = project.read_text("utf-8").partition("serve:")[0]
    project.write_text(f"{text}serve:\n  signed_by: |\n{indented}", "utf-8")


def release(folder: Path) -> Record:
    return Yard(folder / ".yard").find(step="release.choose")[0]


def test_only_a_release_that_the_key_signed_is_packed_or_served(
    command: Command, copy: Path, keys: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demand(copy, keys["a.pub"])
    said = command("package", str(tmp_path / "x"), "--json").json["error"]
    assert "nobody signed it" in said["what"]
    assert "release sign" in said["try"]
    assert command("release", "sign", "--key", str(keys["b"])).code == 0
    assert "not signed by the key" in command("package", str(tmp_path / "x"), "--json").json["error"]["what"]
    assert command("release", "sign", "--key", str(keys["a"]), "--json").code == 1
    monkeypatch.setenv("PASSWORD", "open")
    signed = command("release", "sign", "--key", str(keys["a"]), "--password-env", "PASSWORD", "--json").json
    signature = json.loads(Path(signed["result"]["signature"]).read_text("utf-8"))
    assert signature["mediaType"].startswith("application/vnd.dev.sigstore.bundle")
    assert command("sweep").code == 0  # a signature is needed
    assert command("package", str(tmp_path / "x"), "--json").code == 0
    for place in (copy / ".yard").rglob("*"):
        if place.is_file():
            assert b"PRIVATE KEY" not in place.read_bytes()


@pytest.mark.parametrize(
    "content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"]
)
def test_what_is_no_key_is_told(command: Command, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    error = command("release", "sign", "--key", str(path), "--json").json["error"]
    assert "the key cannot be used" in error["what"]
    assert command("release", "sign", "--key", str(path), "--password-env", "NOT_THERE", "--json").code in (
        1,
        2,
    )


def test_what_is_no_public_key_is_told(
    command: Command, copy: Path, keys: dict[str, Path], tmp_path: Path
) -> None:
    assert command("release", "sign", "--key", str(keys["b"])).code == 0
    project = copy / "modelyard.yaml"
    project.write_text(project.read_text("utf-8") + "serve: {signed_by: nonsense}\n", "utf-8")
    assert "is no public key" in command("package", str(tmp_path / "x"), "--json").json["error"]["what"]


def test_a_package_holds_the_release_alone_and_is_taken_in_elsewhere(
    command: Command,
    copy: Path,
    keys: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command("customers", "add", "acme", "--currency", "USD").code == 0
    assert command("release", "sign", "--key", str(keys["b"])).code == 0
    demand(copy, keys["b.pub"])
    out = tmp_path / "out"
    told = command("package", str(out), "--json").json["result"]
    mine = release(copy)
    seed = Yard(out / "release")
    assert {record.step for record in seed.find()} == {"release.choose", "release.sign"}
    ledger = (out / "release" / "yard.db").read_bytes()
    assert b"acme" not in ledger
    assert set(told["packages"]) & {"torch", "transformers", "nncf"} == set()
    assert told["release"] == mine.id

    there = tmp_path / "there"
    there.mkdir()
    elsewhere = Command(there, monkeypatch, capsys)
    assert elsewhere("restore", str(out / "release")).code == 0
    seed.ledger.close()

    def packed() -> dict[Path, int]:
        """When each file and folder of it was last written: a ledger that is opened has others beside it."""
        start = out / "release"
        return {path: path.stat().st_mtime_ns for path in (start, *start.rglob("*"))}

    before = packed()
    added = elsewhere("release", "add", str(out / "release"), "--json").json["result"]
    assert (added["release"], added["before"]) == (mine.id, mine.id)
    # An image's files are read, by a user who may not write them.
    assert packed() == before
    assert elsewhere("try", "What does the anvil cost?", "--json").code == 0
    assert elsewhere("audit", "verify").code == 0
    bill = json.loads((out / "bom.json").read_text("utf-8"))
    assert bill["bomFormat"] == "CycloneDX"
    assert bom.write(mine, [], {}) == bom.write(mine, [], {})


def test_a_release_is_added_to_a_yard_that_has_another_and_is_served(
    command: Command,
    copy: Path,
    desk: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project = copy / "modelyard.yaml"
    project.write_text(project.read_text("utf-8").replace("{max: 60}", "{max: 61}"), "utf-8")
    assert command("up").code == 0
    assert command("package", str(tmp_path / "out")).code == 0
    other = Path(shutil.copytree(desk.folder, tmp_path / "other"))
    elsewhere = Command(other, monkeypatch, capsys)
    before = release(other).id
    told = elsewhere("release", "add", str(tmp_path / "out" / "release"), "--json").json["result"]
    assert told == {"release": release(copy).id, "before": before}
    assert (
        elsewhere("release", "add", str(tmp_path), "--json").json["error"]["what"]
        == "this folder holds no release"
    )


def test_the_bill_is_valid_cyclonedx_and_names_every_file(desk: Made) -> None:
    validation = pytest.importorskip("cyclonedx.validation.json")
    pytest.importorskip("jsonschema")
    from cyclonedx.schema import SchemaVersion

    sources = [{"path": "docs", "licence": "CC0-1.0", "owner": "Nobody", "basis": "own"}]
    text = bom.write(desk.release, sources, {"openvino": "1"})
    assert validation.JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    hashes = {c["name"]: c["hashes"][0]["content"] for c in bill["components"] if c["type"] == "file"}
    assert hashes == {name: entry.sha256 for name, entry in desk.release.files.items()}
    kinds = [c["type"] for c in bill["components"]]
    assert {"machine-learning-model", "data", "library"} <= set(kinds)
    assert bill["metadata"]["component"]["name"] == "desk"
    assert '"None"' not in text


def test_the_image_is_non_root_pinned_and_checked(command: Command, copy: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert command("package", str(out), "--base", "localhost/base").code == 0
    text = (out / "Dockerfile").read_text("utf-8")
    assert text.splitlines()[2] == "FROM localhost/base"
    assert "USER 10001" in text
    (route,) = re.findall(r"HEALTHCHECK .*http://127.0.0.1:8000(/\w+)", text)
    assert ("GET", route) in ROUTES
    engine = release(copy).json("release.json")["engine"]
    pins = (out / "requirements.txt").read_text("utf-8").splitlines()
    assert all(line.count("==") == 1 for line in pins)
    names = {line.partition("==")[0].lower() for line in pins}
    assert {"openvino": "openvino-genai", "llamacpp": "xllamacpp"}[engine] in names
    assert ("libgomp1" in text) == (engine == "llamacpp")
    assert not list((out / "app").rglob("__pycache__"))
    assert command("package", str(out), "--json").json["error"]["what"] == "the folder is not empty"
    assert os.access(out / "entry.sh", os.X_OK)


def test_what_the_image_starts_is_served_from_an_empty_folder(
    command: Command, copy: Path, tmp_path: Path
) -> None:
    """The entry script, on this machine, with the folders of the image in other places."""
    out, data = tmp_path / "out", tmp_path / "data"
    assert command("package", str(out)).code == 0
    data.mkdir()
    script = (out / "entry.sh").read_text("utf-8").replace("/data", str(data))
    script = script.replace("/opt/modelyard/release", str(out / "release")).replace("--port 8000", "--port 0")
    script = script.replace("--host 0.0.0.0", "--host 127.0.0.1")
    (tmp_path / "entry.sh").write_text(script, "utf-8")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PYTHONPATH": str(out / "app"), "PATH": path, "OMP_NUM_THREADS": "1"}
    for _ in range(2):  # the second start finds its yard
        process = subprocess.Popen(
            ["sh", str(tmp_path / "entry.sh")],
            env=env,
            stderr=subprocess.PIPE,
            text=True,
            stdout=subprocess.DEVNULL,
        )
        assert process.stderr is not None
        try:
            said = next((line for line in process.stderr if "listening on" in line), "")
        finally:
            process.terminate()
            process.wait(30)
            process.stderr.close()
        assert said
