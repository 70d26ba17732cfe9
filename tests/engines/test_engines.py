"""The real engines on the same file: they agree with torch, stop where told, and can be cancelled."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.optimize.stage import FOLDERS, GGUF_TYPES, LITERT

from modelyard.engines import ENGINES, Request, complete, missing, reads, start, versions
from modelyard.engines.protocol import Engine, Finish
from modelyard.engines.torch_engine import TorchEngine
from modelyard.errors import EngineError, MissingPackage, ProjectError, SourceError
from modelyard.verify.weights import compare

PROMPT = (1, 85, 91, 286, 71, 79, 201, 310, 304, 261, 223, 83, 306, 262, 266, 74)
ANSWER = (261, 223, 163, 282, 319, 2)  # 163 spells a lone byte inside a character, 2 ends an answer
# Two run in environments of their own (MODELYARD_ENV): where these are not, they are not tested.
OWN = tuple(name for name in ("litert", "vllm") if not missing(name))
NATIVE = ("openvino", "llamacpp", "onnx", *OWN)
KINDS = (*(f"gguf {kind}" for kind in GGUF_TYPES), *FOLDERS, *LITERT)
READ = [(name, kind) for name in NATIVE for kind in KINDS if reads(name, kind)]


@pytest.fixture(scope="module")
def places(files: dict[str, Path], folders: dict[str, Path]) -> dict[str, Path]:
    return {f"gguf {kind}": path for kind, path in files.items()} | folders


@pytest.fixture(scope="module")
def torch(places: dict[str, Path]) -> dict[str, TorchEngine]:
    return {
        kind: TorchEngine(path, threads=1, callers=2, context_tokens=512) for kind, path in places.items()
    }


@pytest.fixture(scope="module", params=READ, ids=lambda p: "-".join(p))
def running(request: pytest.FixtureRequest, places: dict[str, Path]) -> Iterator[tuple[str, str, Engine]]:
    name, kind = request.param
    engine = start(name, places[kind], threads=1, callers=2, context_tokens=256, limit_s=60)
    yield name, kind, engine
    engine.close()


def apart(engine: Engine, right: TorchEngine) -> float:
    """Mean |log-probability - torch's| in nats."""
    told, expected = engine.score(PROMPT, ANSWER), right.score(PROMPT, ANSWER)
    return sum(abs(a - b) for a, b in zip(told, expected, strict=True)) / len(expected)


def test_an_engine_scores_a_file_as_torch_does_on_the_same_file(
    running: tuple[str, str, Engine], torch: dict[str, TorchEngine]
) -> None:
    _, kind, engine = running
    assert apart(engine, torch[kind]) < 0.15  # activations in 8 bits; a wrong permutation gives over 1


def test_an_engine_says_all_tokens_also_those_inside_a_character(
    running: tuple[str, str, Engine], torch: dict[str, TorchEngine]
) -> None:
    _, kind, engine = running
    asked = [Request("a", PROMPT, 12), Request("b", PROMPT[3:], 1), Request("c", PROMPT[:5], 7)]
    told = complete(engine, asked, callers=2, limit_s=60)
    assert [len(one.tokens) for one in told] == [12, 1, 7]
    assert {one.finish for one in told} == {"length"}
    right = complete(torch[kind], asked, callers=2, limit_s=60)
    if kind in (
        "gguf F16",
        "onnx fp32",
        "litert fp32",
        "safetensors F32",
    ):  # activations in 8 bits may turn a close choice
        assert [one.tokens[:4] for one in told] == [one.tokens[:4] for one in right]


def test_a_stop_token_ends_the_answer_and_is_not_in_it(running: tuple[str, str, Engine]) -> None:
    _, _, engine = running
    (whole,) = complete(engine, [Request("a", PROMPT, 10)], callers=1, limit_s=60)
    token = whole.tokens[2]
    cut = whole.tokens[: whole.tokens.index(token)]
    (stopped,) = complete(engine, [Request("b", PROMPT, 10, (token,))], callers=1, limit_s=60)
    assert (stopped.tokens, stopped.finish) == (cut, "stop")


def test_a_cancelled_request_ends_and_the_next_is_answered(running: tuple[str, str, Engine]) -> None:
    _, _, engine = running
    ends: list[Finish | None] = []
    while ends[-1:] != ["cancelled"] and len(ends) < 5:  # a tiny model may be done before it hears of it
        engine.submit(Request(f"long{len(ends)}", PROMPT, 200))
        engine.cancel(f"long{len(ends)}")
        events = engine.poll(10)
        while not any(event.finish for event in events):
            events += engine.poll(10)
        ends += [event.finish for event in events if event.finish]
    assert ends[-1] == "cancelled"
    (told,) = complete(engine, [Request("next", PROMPT, 3)], callers=1, limit_s=60)
    assert len(told.tokens) == 3


def test_a_prompt_longer_than_the_context_fails_alone(running: tuple[str, str, Engine]) -> None:
    _, _, engine = running
    asked = [Request("long", PROMPT * 20, 5), Request("short", PROMPT, 5)]
    long, short = complete(engine, asked, callers=2, limit_s=60)
    assert (long.finish, short.finish) == ("failed", "length")
    assert "context" in long.error


@pytest.mark.parametrize("kind", [kind for name, kind in READ if name == "openvino"])
def test_openvino_run_exactly_leaves_no_room_for_a_fault(
    kind: str, places: dict[str, Path], torch: dict[str, TorchEngine]
) -> None:
    engine = start("openvino", places[kind], threads=1, callers=1, context_tokens=64, limit_s=60, exact=True)
    assert apart(engine, torch[kind]) < 0.001
    engine.close()


@pytest.mark.parametrize("name", ["openvino", "llamacpp"])
def test_words_of_the_prompt_proposed_change_no_answer(name: str, places: dict[str, Path]) -> None:
    repeated = PROMPT[3:8] * 6  # something to look up
    asked = [Request("a", PROMPT, 12), Request("b", repeated, 24), Request("c", repeated, 24, (repeated[0],))]
    # Without roundings of its own where it can: they differ with the tokens of a step, and may turn a close
    # choice. That is why lookup is measured before it is served.
    how = {"threads": 1, "callers": 2, "context_tokens": 256, "limit_s": 60, "exact": name == "openvino"}
    plain, quick = (start(name, places["gguf F16"], **how, lookup=lookup) for lookup in (False, True))
    told, again = (
        [(one.tokens, one.finish) for one in complete(engine, asked, callers=2, limit_s=60)]
        for engine in (plain, quick)
    )
    plain.close()
    assert again == told
    if name == "openvino":
        quick.submit(Request("d", repeated, 20, logprobs=True))
        events = []
        while not any(event.finish for event in events):
            events += quick.poll(10)
        assert (
            sum(len(event.logprobs) for event in events) == sum(len(event.tokens) for event in events) == 20
        )
    quick.close()


@pytest.mark.parametrize("name", ["openvino", "llamacpp"])
def test_a_prefix_that_is_kept_changes_no_answer(name: str, places: dict[str, Path]) -> None:
    shared = PROMPT[3:8] * 20  # longer than a block of either cache
    asked = [Request(f"q{at}", (*shared, *PROMPT[at:]), 12) for at in range(6)]
    how = {"threads": 1, "callers": 2, "context_tokens": 256, "limit_s": 60, "exact": name == "openvino"}
    plain, keeping = (start(name, places["gguf F16"], **how, prefix_caching=keep) for keep in (False, True))
    told, again = (
        [(one.tokens, one.finish) for one in complete(engine, asked, callers=2, limit_s=60)]
        for engine in (plain, keeping)
    )
    plain.close()
    keeping.close()
    assert again == told


def test_openvino_reads_a_file_that_its_user_may_not_write(
    files: dict[str, Path], torch: dict[str, TorchEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write anywhere, so the answer of the system is given here; the copy is real."""
    from modelyard.engines import openvino

    opened: list[str] = []
    copies: list[str] = []
    make = openvino.os.memfd_create
    monkeypatch.setattr(openvino.os, "memfd_create", lambda name: copies.append(name) or make(name))
    monkeypatch.setattr(openvino.os, "access", lambda path, mode: opened.append(str(path)))
    engine = openvino.OpenVino(
        files["F16"], threads=1, callers=1, context_tokens=64, properties=openvino.EXACT
    )
    assert opened == [str(files["F16"])]
    assert copies == ["F16.gguf"]
    assert apart(engine, torch["gguf F16"]) < 0.001
    engine.close()


def test_an_engine_that_cannot_look_up_says_so(folders: dict[str, Path]) -> None:
    with pytest.raises(EngineError, match="words of the prompt"):
        start("onnx", folders["onnx int8"], threads=1, callers=1, lookup=True)


def test_an_engine_that_cannot_keep_prefixes_says_so(folders: dict[str, Path]) -> None:
    with pytest.raises(EngineError, match="keep prefixes"):
        start("onnx", folders["onnx int8"], threads=1, callers=1, prefix_caching=True)


def test_torch_reads_a_file_as_the_model_that_it_came_from(
    model: Path, torch: dict[str, TorchEngine]
) -> None:
    assert apart(TorchEngine(model, threads=1), torch["gguf F16"]) < 0.005
    assert apart(TorchEngine(model, threads=1), torch["gguf Q8_0"]) < 0.1


def test_llamacpp_cannot_run_exactly_and_says_so(files: dict[str, Path]) -> None:
    with pytest.raises(EngineError, match="exactly"):
        start("llamacpp", files["F16"], threads=1, callers=1, exact=True)


@pytest.mark.parametrize("name", ["openvino", "llamacpp", "torch"])
def test_a_damaged_or_foreign_file_is_refused_before_a_process_is_started(
    name: str, files: dict[str, Path], tmp_path: Path
) -> None:
    whole = files["F16"].read_bytes()
    for at, content in enumerate((whole[:-1], whole[:2000], b"", b"PK\x03\x04" + whole)):
        path = tmp_path / f"{at}.gguf"
        path.write_bytes(content)
        with pytest.raises(SourceError):
            start(name, path, threads=1, callers=1)
    with pytest.raises(SourceError):
        start(name, tmp_path / "none.gguf", threads=1, callers=1)


@pytest.mark.parametrize(
    ("name", "kind", "damaged"),
    [
        ("onnx", "onnx int8", "model.onnx"),
        ("onnx", "onnx int8", "model.onnx.data"),
        ("onnx", "onnx int8", "genai_config.json"),
        ("openvino", "openvino int8", "openvino_model.xml"),
        ("openvino", "openvino int8", "openvino_model.bin"),
    ],
)
def test_a_damaged_folder_is_an_error_of_reading_or_of_the_engine(
    name: str, kind: str, damaged: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(folders[kind], tmp_path / "model")
    file = folder / damaged
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"", None):
        if content is None:
            file.unlink()
        else:
            file.write_bytes(content)
        with pytest.raises((EngineError, SourceError)):
            start(name, folder, threads=1, callers=1, limit_s=60).score(PROMPT, ANSWER)
        with pytest.raises(SourceError):
            compare(folder, folder.parent, kind.partition(" ")[2])


def test_a_wrong_block_size_is_found(folders: dict[str, Path], model: Path, tmp_path: Path) -> None:
    onnx = importlib.import_module("onnx")
    folder = shutil.copytree(folders["onnx int8"], tmp_path / "model")
    graph = onnx.load(folder / "model.onnx", load_external_data=False)
    node = next(node for node in graph.graph.node if node.op_type == "MatMulNBits")
    size = next(one for one in node.attribute if one.name == "block_size")
    size.i *= 2
    onnx.save(graph, folder / "model.onnx")
    found = compare(folder, model, "int8")
    assert {row.what for row in found} >= {"numbers of model.layers.0.self_attn.q_proj.weight"}


def test_an_unknown_engine_is_told_with_those_that_there_are() -> None:
    with pytest.raises(ProjectError, match="llamacpp"):
        start("lamacpp", Path("x"), threads=1, callers=1)


def test_a_missing_library_of_the_system_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    from ctypes import CDLL

    def load(name: str) -> CDLL:
        if name == "libgomp.so.1":
            raise OSError(name)
        return CDLL(name)

    monkeypatch.setattr("modelyard.engines.menu.ctypes.CDLL", load)
    found = missing("llamacpp")
    assert found
    assert (found.what, found.try_) == ("the engine llamacpp needs libgomp.so.1", "apt install libgomp1")


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from modelyard.engines import menu

    def absent(package: str) -> Any:
        raise menu.PackageNotFoundError(package)

    monkeypatch.setattr(menu, "version", absent)
    found = missing("openvino")
    assert found
    assert found.try_ == "pip install 'modelyard[openvino]'"
    assert versions("llamacpp") == {"xllamacpp": "absent"}
    with pytest.raises(MissingPackage, match=r"modelyard\[llamacpp\]"):
        start("llamacpp", Path("x"), threads=1, callers=1)


def test_the_menu_and_a_process_that_serves_load_no_torch(files: dict[str, Path]) -> None:
    code = (
        "import sys, json; from pathlib import Path; import modelyard.engines as e\n"
        "[e.missing(n) for n in e.ENGINES]\n"
        "from modelyard.engines import gguf_file, openvino, llamacpp, worker\n"
        f"gguf_file.config(Path({str(files['Q4_0'])!r}))\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & {"torch", "transformers", "numpy", "gguf", "openvino_genai", "xllamacpp", "onnx"}
    assert set(ENGINES) == {"openvino", "llamacpp", "torch", "onnx", "litert", "vllm", "remote", "echo"}
