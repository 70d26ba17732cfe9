"""How the next token is chosen where that is not greedily: drawing, seeds, log-probabilities, schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.engines import ENGINES, Completion, Request, complete, start
from modelyard.engines.protocol import Engine
from modelyard.errors import EngineCrashed
from modelyard.prompt import Prompter

PROMPT = (1, 85, 91, 286, 71, 79, 201, 310, 304, 261, 223, 83, 306, 262, 266, 74)
END = 2
NATIVE = ("openvino", "llamacpp", "onnx")
HOT = Request("hot", PROMPT, 12, (END,), temperature=1.0, seed=11)


@pytest.fixture(scope="module", params=[*NATIVE, "echo"])
def running(
    request: pytest.FixtureRequest, files: dict[str, Path], folders: dict[str, Path]
) -> Iterator[Engine]:
    model = folders["onnx fp32"] if request.param == "onnx" else files["F16"]
    engine = start(request.param, model, threads=1, callers=4, context_tokens=256, limit_s=60)
    yield engine
    engine.close()


def tell(engine: Engine, *asked: Request) -> list[Completion]:
    return complete(engine, asked, callers=4, limit_s=60)


def test_the_menu_says_what_the_engine_says(running: Engine) -> None:
    assert ENGINES[running.name].gives == running.gives


def test_the_same_seed_draws_the_same_alone_and_beside_others(running: Engine) -> None:
    alone = tell(running, HOT)[0].tokens
    beside = tell(
        running, replace(HOT, id="a"), replace(HOT, id="b", seed=12), replace(HOT, id="c", temperature=0.0)
    )
    assert beside[0].tokens == alone
    assert len({one.tokens for one in beside}) == 3


def test_without_a_seed_every_draw_is_another(running: Engine) -> None:
    told = tell(running, *(replace(HOT, id=str(at), seed=None) for at in range(4)))
    assert len({one.tokens for one in told}) > 1


def test_a_tiny_top_p_is_greedy(running: Engine) -> None:
    if running.name == "echo":
        pytest.skip("echo draws from its prompt, which has no probabilities")
    greedy, narrow = tell(
        running, replace(HOT, id="a", temperature=0.0), replace(HOT, id="b", temperature=2.0, top_p=0.001)
    )
    assert narrow.tokens == greedy.tokens


def test_drawn_answers_have_all_their_tokens(running: Engine) -> None:
    """Also where an engine tells no ids of tokens that end inside a character."""
    told = tell(running, *(replace(HOT, id=str(at), seed=at, stop=(), max_tokens=9) for at in range(12)))
    if running.name != "echo":
        assert {len(one.tokens) for one in told} == {9}
    again = tell(running, *(replace(HOT, id=str(at), seed=at, stop=(), max_tokens=9) for at in range(12)))
    assert [one.tokens for one in told] == [one.tokens for one in again]


def test_log_probabilities_are_those_of_scoring(running: Engine) -> None:
    if "logprobs" not in running.gives:
        pytest.skip("this engine tells none")
    running.submit(replace(HOT, id="a", temperature=0.0, logprobs=True))
    tokens: list[int] = []
    told: list[float] = []
    finish = None
    while finish is None:
        for event in running.poll(10):
            tokens += event.tokens
            told += event.logprobs
            finish = event.finish
    assert len(told) == len(tokens)
    if running.name != "echo":
        for said, scored in zip(told, running.score(PROMPT, tokens), strict=True):
            assert said == pytest.approx(scored, abs=0.1)


SCHEMA = {"enum": ["x", "yy"]}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_schema_is_kept(running: Engine, model: Path, temperature: float) -> None:
    if "json_schema" not in running.gives:
        pytest.skip("this engine keeps none")
    schema = json.dumps(SCHEMA)
    asked = [
        Request(str(at), PROMPT, 40, (END,), temperature=temperature, seed=at, schema=schema)
        for at in range(3)
    ]
    free = Request("free", PROMPT, 5)
    *held, beside = tell(running, *asked, free)
    prompter = Prompter(model)
    assert all(json.loads(prompter.decode(one.tokens)) in SCHEMA["enum"] for one in held)
    assert {one.finish for one in held} == {"stop"}
    assert len(beside.tokens) == 5


def test_what_an_engine_prints_is_thrown_away_when_asked(tmp_path: Path) -> None:
    habits = tmp_path / "habits.json"
    habits.write_text('{"crash_on": 7}')
    for quiet in (True, False):
        engine = start("echo", habits, threads=1, callers=1, quiet=quiet)
        with pytest.raises(EngineCrashed) as caught:
            tell(engine, Request("a", (7,), 1))
        assert ("echo was told to crash" in str(caught.value)) is not quiet
        engine.close()
