"""OpenAI's own Python client, unchanged."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Any

import openai
import pytest
from tests.serve.service import Service, make_key

HELLO: Any = [{"role": "user", "content": "Hello there"}]
LONG: Any = [{"role": "user", "content": "one two three four five six seven eight nine ten"}]


@pytest.fixture
def client(service: Service, key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=service.url + "/v1", api_key=key, max_retries=0) as found:
        yield found


def test_the_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["desk"]


def test_a_plain_answer_with_usage_and_headers(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="desk", messages=HELLO)
    answer = raw.parse()
    assert answer.choices[0].message.content == "user\nHello there"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert raw.headers["x-modelyard-release"] == answer.system_fingerprint
    assert answer._request_id == raw.headers["x-request-id"]


def test_a_stream_with_usage(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="desk", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "user\nHello there"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 3


def test_the_client_s_own_stream_helper(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="desk", messages=HELLO) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "user\nHello there"


def test_stop_length_seed_user_and_metadata(client: openai.OpenAI) -> None:
    make = client.chat.completions.create
    assert make(model="desk", messages=LONG, stop="four").choices[0].message.content == "user\none two three "
    for limit in ({"max_tokens": 3}, {"max_completion_tokens": 3}):
        cut = make(model="desk", messages=LONG, **limit)
        assert cut.choices[0].finish_reason == "length"
        assert cut.usage is not None
        assert cut.usage.completion_tokens == 3
    drawn = [
        make(model="desk", messages=LONG, temperature=1, top_p=0.9, seed=5, n=1).choices[0].message.content
        for _ in range(2)
    ]
    assert drawn[0] == drawn[1]
    make(model="desk", messages=HELLO, user="somebody", metadata={"order": "7"})


def test_log_probabilities(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="desk", messages=HELLO, logprobs=True)
    assert answer.choices[0].logprobs is not None
    assert answer.usage is not None
    assert len(answer.choices[0].logprobs.content or ()) == answer.usage.completion_tokens


def test_a_completion(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="desk", prompt="one two", max_tokens=50)
    assert answer.choices[0].text == "one two"
    parts = list(client.completions.create(model="desk", prompt="one two", stream=True))
    assert "".join(part.choices[0].text for part in parts) == "one two"


def test_errors_are_the_client_s_own(service: Service, client: openai.OpenAI) -> None:
    make = client.chat.completions.create
    with pytest.raises(openai.BadRequestError) as wrong:
        make(model="desk", messages=HELLO, n=2)
    assert wrong.value.param == "n"
    with pytest.raises(openai.BadRequestError) as tools:
        make(model="desk", messages=HELLO, tools=[{"type": "function", "function": {"name": "f"}}])
    assert tools.value.param == "tools"
    with pytest.raises(openai.BadRequestError) as long:
        make(model="desk", messages=HELLO, max_tokens=10**6)
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError) as other:
        make(model="gpt-4o", messages=HELLO)
    assert other.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="desk", input="x")
    stranger = client.with_options(api_key="my-wrong")
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_too_many_requests_are_tried_again_when_told(service: Service) -> None:
    secret = make_key(service.folder, "hurried", rpm=60)
    patient = openai.OpenAI(base_url=service.url + "/v1", api_key=secret, max_retries=3)
    hasty = patient.with_options(max_retries=0)
    ask = partial(hasty.completions.create, model="desk", prompt="a", max_tokens=1)
    with pytest.raises(openai.RateLimitError) as refused:
        deque((ask() for _ in range(80)), maxlen=0)  # some flow back meanwhile
    assert refused.value.code == "rate_limit_exceeded"
    assert refused.value.response.headers["retry-after"] == "1"
    assert patient.completions.create(model="desk", prompt="a", max_tokens=1).choices


def test_a_client_that_breaks_off_a_stream_pays_for_what_it_heard(
    service: Service, client: openai.OpenAI
) -> None:
    before = len(service.events())
    stream = client.chat.completions.create(model="desk", messages=LONG * 3, max_tokens=200, stream=True)
    for number, _ in enumerate(stream):
        if number == 3:
            break
    stream.close()
    until = time.monotonic() + 10
    while len(service.events()) == before:
        assert time.monotonic() < until
        time.sleep(0.05)
    event = service.events()[-1]
    assert event["finish"] == "cancelled"
    assert 0 < event["output_tokens"] < 150


def test_citations_are_annotations(grounded: Service) -> None:
    key = make_key(grounded.folder)
    question: Any = [{"role": "user", "content": "What does the anvil cost?"}]
    with openai.OpenAI(base_url=grounded.url + "/v1", api_key=key) as client:
        message = client.chat.completions.create(model="desk", messages=question).choices[0].message
        (annotation,) = message.annotations or []
        assert annotation.type == "file_citation"
        told = annotation.model_dump()["file_citation"]
        assert (told["document"], told["licence"]) == ("anvil.md", "CC0-1.0")
        turn: Any = [*question, message, *question]  # its own answer goes back as it came
        assert client.chat.completions.create(model="desk", messages=turn).choices[0].message.annotations
        *_, last = client.chat.completions.create(model="desk", messages=question, stream=True)
        assert last.choices[0].delta.model_dump()["annotations"][0]["file_citation"] == told
