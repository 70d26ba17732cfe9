"""A grounded release answers from its index: the same prompt as `try`, citations, NOT STATED."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
from tests.serve.service import Service, ask, make_key, make_yard, running

from modelyard.grounding import Grounded, put
from modelyard.index import Bm25
from modelyard.prompt import Prompter
from modelyard.records.yard import Yard

PATH = "/v1/chat/completions"
QUESTION = "What does the anvil cost?"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = make_yard(tmp_path_factory.mktemp("grounded") / "yard", ground=True, answer_tokens=200)
    with running(folder) as found:
        yield found


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with service.client(make_key(service.folder)) as found:
        yield found


def test_the_prompt_is_that_of_try_and_is_what_is_billed(service: Service, client: httpx.Client) -> None:
    body = client.post(PATH, json=ask(QUESTION)).json()
    (release,) = Yard(service.folder / ".yard").find(step="release.choose")
    placed = put(Prompter(release.folder), Bm25.load(release.folder), QUESTION)
    assert isinstance(placed, Grounded)
    assert body["usage"]["prompt_tokens"] == len(placed.prompt) == service.events()[-1]["input_tokens"]


def test_an_answer_carries_its_citations_in_a_stream_too(client: httpx.Client) -> None:
    message = client.post(PATH, json=ask(QUESTION)).json()["choices"][0]["message"]
    (annotation,) = message["annotations"]
    assert annotation["type"] == "file_citation"
    cited = annotation["file_citation"]
    assert (cited["document"], cited["licence"]) == ("anvil.md", "CC0-1.0")
    assert 0 < cited["score"] <= 1
    response = client.post(PATH, json=ask(QUESTION, stream=True))
    lines = [line[6:] for line in response.text.split("\n") if line.startswith("data: ")]
    last = json.loads(lines[-2])["choices"][0]
    assert last["delta"]["annotations"] == message["annotations"]
    assert last["finish_reason"] == "stop"


def test_the_span_of_a_citation_holds_the_answer_s_words() -> None:
    from modelyard.index import Hit
    from modelyard.serve.ground import citations

    hit = Hit("a.md", "A", "A", "The anvil costs 7 coins.", "CC0-1.0", "Nobody", 0.5)
    (found,) = citations("7 coins", [hit])
    span = found["file_citation"]["span"]
    assert hit.text[span["start"] : span["end"]] == "7 coins"
    assert citations("8 coins", [hit])[0]["file_citation"]["span"] is None
    assert citations("NOT STATED.", [hit]) == []


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_what_the_documents_do_not_say_is_one_event_of_no_tokens(
    service: Service, client: httpx.Client, stream: bool
) -> None:
    before = len(service.events())
    options = {"stream_options": {"include_usage": True}} if stream else {}
    response = client.post(PATH, json=ask("zzzz qqqq", stream=stream, **options))
    if stream:
        parts = [json.loads(li[6:]) for li in response.text.split("\n") if li.startswith("data: {")]
        text = "".join(c["choices"][0]["delta"].get("content", "") for c in parts if c["choices"])
        usage = parts[-1]["usage"]
    else:
        body = response.json()
        text, usage = body["choices"][0]["message"]["content"], body["usage"]
        assert body["choices"][0]["message"]["annotations"] == []
    assert text == "NOT STATED"
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (0, 0)
    (event,) = service.events()[before:]
    assert (event["input_tokens"], event["output_tokens"], event["finish"]) == (0, 0, "stop")


def test_the_last_message_is_the_question_and_the_reply_says_so(client: httpx.Client) -> None:
    alone = client.post(PATH, json=ask(QUESTION))
    assert "x-modelyard-asked" not in alone.headers
    earlier = [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "Hello"}]
    messages = [*earlier, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": QUESTION}]
    response = client.post(PATH, json={"model": "desk", "messages": messages})
    assert response.headers["x-modelyard-asked"] == "last-message"
    assert response.json()["usage"] == alone.json()["usage"]


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "  "}],
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
    ],
    ids=["empty", "not the user's"],
)
def test_without_a_question_nothing_is_asked(client: httpx.Client, messages: list[dict[str, str]]) -> None:
    response = client.post(PATH, json={"model": "desk", "messages": messages})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "messages")


def test_a_completion_is_grounded_as_well(client: httpx.Client) -> None:
    choice = client.post("/v1/completions", json={"model": "desk", "prompt": QUESTION}).json()["choices"][0]
    assert choice["annotations"][0]["file_citation"]["document"] == "anvil.md"
    tokens = client.post("/v1/completions", json={"model": "desk", "prompt": [70, 71]})
    assert (tokens.status_code, tokens.json()["error"]["param"]) == (400, "prompt")


def test_an_answer_has_no_white_space_around_it(client: httpx.Client) -> None:
    text = client.post(PATH, json=ask(QUESTION)).json()["choices"][0]["message"]["content"]
    assert text == text.strip()
