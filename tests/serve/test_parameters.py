"""Every parameter of OpenAI's routes is honoured, or refused by its name."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import completion_create_params
from openai.types.chat import completion_create_params as chat_params

from modelyard.serve import body, parameters
from modelyard.serve.refusals import Refusal

CHAT = {"model": "desk", "messages": [{"role": "user", "content": "Hello"}]}
TEXT = {"model": "desk", "prompt": "Hello"}


def refused(read: Any, value: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(value)
    return caught.value


def test_a_plain_request_is_greedy_and_takes_the_release_s_own_length() -> None:
    wanted = parameters.chat(CHAT)
    assert (wanted.temperature, wanted.max_tokens, wanted.stream, wanted.stop) == (0.0, None, False, ())
    assert wanted.messages == ({"role": "user", "content": "Hello"},)


def test_no_parameter_of_the_official_client_is_unknown() -> None:
    """A new one in OpenAI's own list must be honoured or refused on purpose."""
    for known, params in (
        (parameters.CHAT, chat_params.CompletionCreateParamsBase),
        (parameters.COMPLETION, completion_create_params.CompletionCreateParamsBase),
    ):
        assert set(get_type_hints(params)) <= set(known)


@pytest.mark.parametrize("name", sorted(name for name, p in parameters.CHAT.items() if p.check is None))
def test_what_is_not_supported_is_refused_by_name_and_null_is_no_value(name: str) -> None:
    refusal = refused(parameters.chat, {**CHAT, name: "auto"})
    assert (refusal.status, refusal.param, refusal.name) == (400, name, "unsupported_parameter")
    parameters.chat({**CHAT, name: None})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("n", True),
        ("temperature", 2.1),
        ("temperature", "0"),
        ("temperature", float("inf")),
        ("top_p", 0),
        ("seed", 2**63),
        ("seed", 1.0),
        ("max_tokens", 0),
        ("max_tokens", True),
        ("max_completion_tokens", -1),
        ("stop", ""),
        ("stop", ["a", ""]),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("stream", "yes"),
        ("stream_options", {"include_usage": True}),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -1),
        ("logit_bias", {"50256": -100}),
        ("logprobs", 1),
        ("top_logprobs", 3),
        ("user", 7),
        ("metadata", {"a": 1}),
        ("messages", []),
        ("messages", "Hello"),
        ("messages", [{"role": "user"}]),
        ("model", 3),
        ("service_tier", "flex"),
        ("store", True),
        ("modalities", ["audio"]),
        ("tool_choice", "auto"),
    ],
)
def test_a_value_that_cannot_be_honoured_is_refused_by_the_parameter_s_name(name: str, value: Any) -> None:
    refusal = refused(parameters.chat, {**CHAT, name: value})
    assert refusal.status == 400
    assert (refusal.param or "").split("[")[0] == name


def test_values_that_change_nothing_are_taken() -> None:
    parameters.chat(
        {
            **CHAT,
            "n": 1,
            "frequency_penalty": 0,
            "presence_penalty": 0.0,
            "logit_bias": {},
            "user": "u1",
            "metadata": {"a": "b"},
            "store": False,
            "service_tier": "auto",
            "modalities": ["text"],
            "top_logprobs": 0,
            "response_format": {"type": "text"},
            "stream_options": None,
        }
    )
    parameters.completion({**TEXT, "n": 1, "best_of": 1, "echo": False, "suffix": None})


def test_an_unknown_parameter_is_refused_and_its_name_is_no_way_to_be_quoted() -> None:
    assert refused(parameters.chat, {**CHAT, "frobnicate": 1}).param == "frobnicate"
    secret = "my secret: 4711 " * 10
    refusal = refused(parameters.chat, {**CHAT, secret: 1})
    assert secret.split()[2] not in json.dumps(refusal.body())


def test_both_names_of_the_length_mean_the_same_and_must_agree() -> None:
    assert parameters.chat({**CHAT, "max_completion_tokens": 5}).max_tokens == 5
    assert parameters.chat({**CHAT, "max_completion_tokens": 5, "max_tokens": 5}).max_tokens == 5
    assert (
        refused(parameters.chat, {**CHAT, "max_completion_tokens": 5, "max_tokens": 6}).param == "max_tokens"
    )


def test_parts_of_text_are_one_text_and_pictures_are_refused_where_they_stand() -> None:
    parts = [{"type": "text", "text": "Hello"}, {"type": "text", "text": "there"}]
    wanted = parameters.chat({**CHAT, "messages": [{"role": "developer", "content": parts}]})
    assert wanted.messages == ({"role": "system", "content": "Hello\nthere"},)
    picture = [{"type": "image_url", "image_url": {"url": "http://x"}}]
    refusal = refused(parameters.chat, {**CHAT, "messages": [{"role": "user", "content": picture}]})
    assert refusal.param == "messages[0].content[0].type"


def test_our_own_reply_may_be_sent_back_as_it_came() -> None:
    ours = {"role": "assistant", "content": "Hi", "refusal": None, "annotations": [{"type": "file_citation"}]}
    wanted = parameters.chat({**CHAT, "messages": [ours, *CHAT["messages"]]})
    assert wanted.messages[0] == {"role": "assistant", "content": "Hi"}


def test_a_tool_s_message_and_a_speaker_s_name_are_refused_by_place() -> None:
    tool = {"role": "tool", "content": "x", "tool_call_id": "1"}
    assert refused(parameters.chat, {**CHAT, "messages": [tool]}).param == "messages[0].role"
    named = {"role": "user", "content": "x", "name": "Bob"}
    assert refused(parameters.chat, {**CHAT, "messages": [named]}).param == "messages[0].name"


def test_a_prompt_is_one_text_or_one_list_of_tokens() -> None:
    assert parameters.completion(TEXT).prompt == "Hello"
    assert parameters.completion({**TEXT, "prompt": ["Hello"]}).prompt == "Hello"
    assert parameters.completion({**TEXT, "prompt": [1, 2]}).prompt == (1, 2)
    assert parameters.completion({**TEXT, "prompt": [[1, 2]]}).prompt == (1, 2)
    for wrong in (["a", "b"], [[1], [2]], [], [-1], [True], 7, [1.5]):
        assert refused(parameters.completion, {**TEXT, "prompt": wrong}).param == "prompt"


def test_only_what_is_asked_is_needed_of_the_engine() -> None:
    assert parameters.chat({**CHAT, "temperature": 0, "seed": 3}).given == {}
    assert parameters.chat({**CHAT, "temperature": 0.5, "seed": 3}).given == {
        "sampling": "temperature",
        "seed": "seed",
    }
    assert parameters.chat({**CHAT, "logprobs": True}).given == {"logprobs": "logprobs"}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "integer"}}}
    wanted = parameters.chat({**CHAT, "response_format": form})
    assert wanted.given == {"json_schema": "response_format"}
    assert json.loads(wanted.schema or "") == {"type": "integer"}


def test_the_same_seed_stays_the_same_in_the_engine_s_32_bits() -> None:
    assert parameters.chat({**CHAT, "seed": -1}).seed == 2**32 - 1
    assert parameters.chat({**CHAT, "seed": 7}).seed == 7


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(sorted({*parameters.CHAT, *parameters.COMPLETION, "x"})),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
            ),
            max_leaves=8,
        ),
    )
)
def test_whatever_comes_is_understood_or_refused(value: dict[str, Any]) -> None:
    for read in (parameters.chat, parameters.completion):
        for base in ({}, CHAT, TEXT):
            with suppress(Refusal):
                read({**base, **value})


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\xff\xfe", "invalid_utf8"),
        (b"{", "invalid_json"),
        (b"", "invalid_json"),
        (b'{"temperature": NaN}', "invalid_json"),
        (b'{"a": 1, "a": 2}', "invalid_json"),
        (b'{"a": "\\ud800"}', "invalid_utf8"),
        (b'{"a": ' + b"1" * 5000 + b"}", "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
    ],
)
def test_a_body_that_is_no_json_is_refused_without_being_quoted(sent: bytes, code: str) -> None:
    refusal = refused(body.parse, sent)
    assert (refusal.status, refusal.name) == (400, code)


def test_a_whole_character_in_two_escapes_is_one_character() -> None:
    assert body.parse(b'{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}
