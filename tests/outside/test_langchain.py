"""LangChain's OpenAI client, unchanged."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAI
from tests.serve.service import Service, make_key


@pytest.fixture
def chat(service: Service, key: str) -> ChatOpenAI:
    return ChatOpenAI(base_url=service.url + "/v1", api_key=key, model="desk", max_retries=0)


def test_an_answer_with_its_usage(chat: ChatOpenAI) -> None:
    answer = chat.invoke("Hello there")
    assert isinstance(answer, AIMessage)
    assert answer.content == "user\nHello there"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 0
    assert answer.response_metadata["model_name"] == "desk"


def test_a_conversation_a_stop_and_a_length(chat: ChatOpenAI) -> None:
    told = chat.invoke(
        [SystemMessage("Be kind"), HumanMessage("Hello"), AIMessage("Hi"), HumanMessage("Bye")]
    )
    assert told.content == "system\nBe kind"  # echo says its prompt up to the first end token
    assert chat.invoke("one two three", stop=["three"]).content == "user\none two "
    cut = chat.bind(max_tokens=3).invoke("one two three")
    assert cut.response_metadata["finish_reason"] == "length"


def test_a_stream_with_its_usage(chat: ChatOpenAI) -> None:
    whole = None
    for chunk in chat.stream("Hello there", stream_usage=True):
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    assert whole.content == "user\nHello there"
    assert whole.usage_metadata is not None


def test_many_at_once(chat: ChatOpenAI) -> None:
    answers = asyncio.run(chat.abatch([f"Hello {at}" for at in range(12)]))
    assert [answer.content for answer in answers] == [f"user\nHello {at}" for at in range(12)]


def test_a_completion(service: Service) -> None:
    key = make_key(service.folder, "writer")
    plain = OpenAI(base_url=service.url + "/v1", api_key=key, model="desk", max_tokens=20, temperature=0)
    assert plain.invoke("one two") == "one two"
