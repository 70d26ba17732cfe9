"""The engine `remote` on real servers: a plain OpenAI one, llama.cpp's, and vLLM's where it is there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.engines import openai
from tests.engines.test_engines import ANSWER, PROMPT, apart
from tests.servers import port

from modelyard.engines import Request, complete, missing, start
from modelyard.engines.protocol import Engine
from modelyard.engines.torch_engine import TorchEngine
from modelyard.errors import EngineError, SourceError

KEY = "remote-test-key"
WORDS = (85, 91, 286, 71, 79)  # ids that their text has too


def candidate(folder: Path, model: Path, file: Path, **told: Any) -> Path:
    """A candidate's folder that a server serves; the path that engines are started on."""
    folder.mkdir()
    for name in ("tokenizer.json", "config.json"):
        shutil.copyfile(model / name, folder / name)
    kept = folder / ("model" if file.is_dir() else "model.gguf")
    (shutil.copytree if file.is_dir() else shutil.copyfile)(file, kept)
    (folder / "server.json").write_text(json.dumps({"model": "tiny", **told}), "utf-8")
    return kept


def remote(path: Path) -> Engine:
    return start("remote", path, threads=1, callers=2, context_tokens=256, limit_s=60)


@pytest.fixture(scope="module", params=["plain", "text", "llamacpp", "vllm"])
def running(
    request: pytest.FixtureRequest,
    model: Path,
    files: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, Engine, TorchEngine]]:
    """Each kind of server; the engine that asks it; torch on the same file."""
    folder, patch = tmp_path_factory.mktemp("remote") / "out", pytest.MonkeyPatch()
    patch.setenv("REMOTE_KEY", KEY)
    kind, file = request.param, model
    if kind == "vllm":
        if missing("vllm"):
            pytest.skip("vLLM's environment is not installed")
        serving = openai.vllm(model, KEY)
    elif kind == "llamacpp":
        file = files["F16"]
        serving = openai.llamacpp(file, KEY)
    else:
        serving = openai.plain(openai.Plain(model, ids=kind == "plain", echo=kind == "plain", key=KEY))
    with serving as url:
        engine = remote(candidate(folder, model, file, url=url, key_env="REMOTE_KEY"))
        yield kind, engine, TorchEngine(file, threads=1, callers=2, context_tokens=256)
        engine.close()
    patch.undo()


def test_a_server_answers_as_torch_does_on_the_file_that_it_serves(
    running: tuple[str, Engine, TorchEngine],
) -> None:
    kind, engine, right = running
    asked = [Request("a", PROMPT, 6), Request("b", WORDS, 4)]
    told = complete(engine, asked, callers=2, limit_s=60)
    expected = complete(right, asked, callers=2, limit_s=60)
    assert {one.finish for one in told} == {"length"}, told
    if kind in ("llamacpp", "vllm"):  # these tell ids; of text, the ids that it has are told
        assert [one.tokens for one in told] == [one.tokens for one in expected]


def test_a_server_that_tells_what_a_prompt_was_worth_is_held_to_it(
    running: tuple[str, Engine, TorchEngine],
) -> None:
    kind, engine, right = running
    if kind == "text":
        with pytest.raises(EngineError, match="nothing proves what it runs"):
            engine.score(PROMPT, ANSWER)
        return
    assert apart(engine, right) < 0.005


def test_a_stop_token_ends_a_servers_answer(running: tuple[str, Engine, TorchEngine]) -> None:
    kind, engine, right = running
    (whole,) = complete(right, [Request("a", WORDS, 8)], callers=1, limit_s=60)
    if kind in ("plain", "text"):
        return  # the tiny model writes no special token, and these end at the words of one
    token = whole.tokens[2]
    (stopped,) = complete(engine, [Request("b", WORDS, 8, (token,))], callers=1, limit_s=60)
    assert stopped.tokens == whole.tokens[: whole.tokens.index(token)]
    assert stopped.finish == "stop"


def test_a_prompt_longer_than_the_context_is_refused_alone(running: tuple[str, Engine, TorchEngine]) -> None:
    _, engine, _ = running
    long, short = complete(
        engine, [Request("l", PROMPT * 20, 5), Request("s", WORDS, 2)], callers=2, limit_s=60
    )
    assert (long.finish, short.finish) == ("failed", "length")


@pytest.fixture
def server(model: Path) -> openai.Plain:
    return openai.Plain(model, ids=True, echo=True, key=KEY)


@pytest.mark.parametrize(
    ("key", "name", "what", "advice"),
    [
        ("wrong", "tiny", "status 401", "key_env"),
        ("", "tiny", "REMOTE_KEY is not set", "export"),
        (KEY, "other", "no model other", "tiny"),
    ],
)
def test_a_server_that_refuses_is_told_with_what_to_try(
    key: str,
    name: str,
    what: str,
    advice: str,
    server: openai.Plain,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REMOTE_KEY", key)
    with openai.plain(server) as url:
        path = candidate(tmp_path / "out", model, model, url=url, key_env="REMOTE_KEY")
        told = json.loads((path.parent / "server.json").read_text("utf-8"))
        (path.parent / "server.json").write_text(json.dumps(told | {"model": name}), "utf-8")
        with pytest.raises(EngineError, match=what) as error:
            remote(path)
    assert advice in error.value.try_
    assert KEY not in str(error.value)


def test_nobody_at_the_address_and_a_wrong_route_are_told_apart(
    model: Path, tmp_path: Path, server: openai.Plain
) -> None:
    dead = candidate(tmp_path / "dead", model, model, url=f"http://127.0.0.1:{port()}/v1")
    with pytest.raises(EngineError, match="does not answer") as error:
        remote(dead)
    assert "release.remote.url" in error.value.try_
    (dead.parent / "server.json").write_text("{", "utf-8")
    with pytest.raises(SourceError, match="nothing tells where"):
        remote(dead)


def test_a_server_with_less_room_than_is_needed_is_refused(
    model: Path, tmp_path: Path, server: openai.Plain
) -> None:
    server.key = ""
    with openai.plain(server) as url:
        path = candidate(tmp_path / "out", model, model, url=url)
        with pytest.raises(EngineError, match="room for 512 tokens, 1024 are needed"):
            start("remote", path, threads=1, callers=2, context_tokens=1024, limit_s=60)


def test_a_server_that_ends_a_measured_answer_early_fails_the_request(model: Path, tmp_path: Path) -> None:
    with openai.plain(openai.Plain(model, ids=True, echo=True, ends=2)) as url:
        engine = remote(candidate(tmp_path / "out", model, model, url=url))
        (told,) = complete(engine, [Request("a", PROMPT, 8)], callers=1, limit_s=60)
        engine.close()
    assert told.finish == "failed"
    assert "was to go on" in told.error


def test_a_server_that_goes_away_fails_what_is_under_way_and_what_comes(model: Path, tmp_path: Path) -> None:
    with openai.plain(openai.Plain(model, ids=True, echo=False)) as url:
        engine = remote(candidate(tmp_path / "out", model, model, url=url))
    (told,) = complete(engine, [Request("a", PROMPT, 8)], callers=1, limit_s=60)
    engine.close()
    assert told.finish == "failed"
    assert "does not answer" in told.error
