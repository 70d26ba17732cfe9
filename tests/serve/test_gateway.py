"""The gateway over real HTTP, on the engine echo: who may ask, what is answered, what is counted."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select
from tests.serve.service import Service, ask, make_key, make_yard, running

from modelyard.prompt import Prompter
from modelyard.records.clock import now_us
from modelyard.records.tables.service import api_key, hold, request_time
from modelyard.records.yard import Yard
from modelyard.serve import keys

PATH = "/v1/chat/completions"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = make_yard(
        tmp_path_factory.mktemp("gateway") / "yard",
        habits={"step_s": 0.002},
        serve="{callers: 4, body_kib: 256, context_tokens: 512}",
    )
    with running(folder) as found:
        yield found


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A second and more for a long answer, so that a client can go away in the middle of it."""
    with running(make_yard(tmp_path_factory.mktemp("slow") / "yard", habits={"step_s": 0.02})) as found:
        yield found


@pytest.fixture(scope="module")
def key(service: Service) -> str:
    return make_key(service.folder)


@pytest.fixture
def client(service: Service, key: str) -> Iterator[httpx.Client]:
    with service.client(key) as found:
        yield found


def chunks(response: httpx.Response) -> list[Any]:
    """The events of a stream, [DONE] among them."""
    lines = [line for line in response.text.split("\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    return [line[6:] if line == "data: [DONE]" else json.loads(line[6:]) for line in lines]


def error(response: httpx.Response) -> dict[str, Any]:
    """The error of a refusal, which has OpenAI's form."""
    assert set(response.json()) == {"error"}
    found: dict[str, Any] = response.json()["error"]
    assert set(found) == {"message", "type", "param", "code"}
    return found


def event_of(service: Service, response: httpx.Response) -> dict[str, Any]:
    """The usage event of a reply."""
    id = response.headers["x-request-id"]
    (found,) = [event for event in service.events() if event["event_id"] == id]
    return found


def test_an_answer_its_usage_and_its_event_say_the_same(service: Service, client: httpx.Client) -> None:
    response = client.post(PATH, json=ask("Hello there"))
    body = response.json()
    assert response.status_code == 200
    choice = body["choices"][0]
    assert choice["message"]["content"] == "user\nHello there"  # echo says its prompt, up to the end token
    assert choice["finish_reason"] == "stop"
    event = event_of(service, response)
    assert body["usage"]["prompt_tokens"] == event["input_tokens"]
    assert body["usage"]["completion_tokens"] == event["output_tokens"]
    assert event["release_id"] == response.headers["x-modelyard-release"]
    (release,) = Yard(service.folder / ".yard").find(step="release.choose")
    prompt = Prompter(release.folder).prompt(ask("Hello there")["messages"])
    assert event["input_tokens"] == len(prompt)
    assert event["source"] == "customer:acme"


def test_a_stream_says_the_same_as_a_plain_reply(service: Service, client: httpx.Client) -> None:
    plain = client.post(PATH, json=ask("Hello there")).json()
    response = client.post(PATH, json=ask("Hello there", stream=True, stream_options={"include_usage": True}))
    assert response.headers["content-type"].startswith("text/event-stream")
    *parts, done = chunks(response)
    assert done == "[DONE]"
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in parts if c["choices"])
    assert text == plain["choices"][0]["message"]["content"]
    assert parts[0]["choices"][0]["delta"]["role"] == "assistant"
    assert parts[-2]["choices"][0]["finish_reason"] == "stop"
    assert parts[-1]["usage"] == plain["usage"]
    assert all(part["usage"] is None for part in parts[:-1])
    assert event_of(service, response)["output_tokens"] == plain["usage"]["completion_tokens"]


def test_the_last_chunk_comes_after_the_event(service: Service, key: str) -> None:
    with (
        service.client(key) as client,
        client.stream("POST", PATH, json=ask("Hello there", stream=True)) as response,
    ):
        for line in response.iter_lines():
            if '"finish_reason":"stop"' in line:
                assert event_of(service, response)["finish"] == "stop"
                return
    raise AssertionError("no last chunk came")


def test_a_stream_comes_in_parts_of_more_than_a_token(service: Service, client: httpx.Client) -> None:
    response = client.post(PATH, json=ask("a b c d e f g h i j k l m n o p", stream=True, max_tokens=40))
    parts = [c for c in chunks(response)[:-1] if c["choices"][0]["delta"].get("content")]
    assert 2 <= len(parts) < 30


def test_max_tokens_cuts_and_its_two_names_are_one(client: httpx.Client) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        body = client.post(PATH, json=ask("Hello there", **{name: 3})).json()
        assert body["usage"]["completion_tokens"] == 3
        assert body["choices"][0]["finish_reason"] == "length"


def test_without_max_tokens_the_release_s_own_length_holds(client: httpx.Client) -> None:
    body = client.post(PATH, json=ask("one two three four five six seven eight nine ten")).json()
    assert body["usage"]["completion_tokens"] == 24


def test_a_stop_text_is_left_out_and_what_follows_is_not_billed(
    service: Service, client: httpx.Client
) -> None:
    response = client.post(PATH, json=ask("one two three four", stop=["three"]))
    body = response.json()
    assert body["choices"][0]["message"]["content"] == "user\none two "
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["completion_tokens"] == event_of(service, response)["output_tokens"]
    streamed = chunks(client.post(PATH, json=ask("one two three four", stop="three", stream=True)))
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in streamed[:-1])
    assert text == "user\none two "


def test_a_seed_draws_the_same_again(client: httpx.Client) -> None:
    def told(seed: int) -> str:
        body = client.post(PATH, json=ask("one two three four five", temperature=1.0, seed=seed)).json()
        return str(body["choices"][0]["message"]["content"])

    assert told(1) == told(1)
    assert len({told(seed) for seed in range(4)}) > 1


def test_log_probabilities_come_where_the_engine_gives_them(client: httpx.Client) -> None:
    body = client.post(PATH, json=ask("Hello", logprobs=True)).json()
    content = body["choices"][0]["logprobs"]["content"]
    assert len(content) == body["usage"]["completion_tokens"]
    assert b"".join(bytes(one["bytes"]) for one in content).decode().endswith("Hello")
    parts = chunks(client.post(PATH, json=ask("Hello", logprobs=True, stream=True)))[:-1]
    streamed = [one for c in parts for one in (c["choices"][0]["logprobs"] or {"content": []})["content"]]
    assert streamed == content


def test_what_the_engine_cannot_give_is_refused_by_name(client: httpx.Client) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "integer"}}}
    response = client.post(PATH, json=ask("Hello", response_format=form))
    assert response.status_code == 400
    assert error(response)["param"] == "response_format"


def test_a_completion_answers_a_bare_text_and_tokens(service: Service, client: httpx.Client) -> None:
    response = client.post("/v1/completions", json={"model": "desk", "prompt": "one two"})
    body = response.json()
    assert body["choices"][0]["text"] == "one two"
    assert body["object"] == "text_completion"
    assert event_of(service, response)["input_tokens"] == body["usage"]["prompt_tokens"]
    told = client.post("/v1/completions", json={"model": "desk", "prompt": [70, 71], "max_tokens": 5}).json()
    assert told["usage"] == {**body["usage"], "prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}
    far = client.post("/v1/completions", json={"model": "desk", "prompt": [70, 99_999]})
    assert (far.status_code, error(far)["param"]) == (400, "prompt")
    streamed = client.post("/v1/completions", json={"model": "desk", "prompt": "one two", "stream": True})
    text = "".join(c["choices"][0]["text"] for c in chunks(streamed)[:-1])
    assert text == "one two"


def test_the_list_of_models_has_the_project_s_name(client: httpx.Client) -> None:
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["id"], model["object"]) == ("desk", "model")


def test_another_model_is_not_found(client: httpx.Client) -> None:
    response = client.post(PATH, json={**ask("Hello"), "model": "gpt-4o"})
    assert (response.status_code, error(response)["code"]) == (404, "model_not_found")
    assert "gpt-4o" not in response.text


@pytest.mark.parametrize("bearer", [None, "", "Bearer", "Bearer my-nothing", "Basic abc", "Bearer \xff"])
def test_without_a_valid_key_nothing_is_said(service: Service, bearer: str | None) -> None:
    headers = {} if bearer is None else {"authorization": bearer.encode("latin-1")}
    for method, path in (("POST", PATH), ("GET", "/v1/models"), ("GET", "/v1/usage")):
        response = httpx.request(method, service.url + path, headers=headers, json=ask("Hello"))
        assert (response.status_code, error(response)["code"]) == (401, "invalid_api_key")


def test_a_revoked_key_is_refused_within_two_seconds(service: Service) -> None:
    secret = make_key(service.folder, "shortly")
    with service.client(secret) as client:
        assert client.post(PATH, json=ask("Hello")).status_code == 200
        yard = Yard(service.folder / ".yard")
        with yard.ledger.write() as connection:
            id = connection.execute(
                select(api_key.c.id).where(api_key.c.customer_id == "shortly")
            ).scalar_one()
            keys.revoke(connection, id, now_us())
        time.sleep(2)
        assert client.post(PATH, json=ask("Hello")).status_code == 401
        assert client.get("/v1/models").status_code == 401


def test_an_expired_key_and_one_of_another_scope_are_refused(service: Service) -> None:
    soon = make_key(service.folder, "expires", expires_us=now_us() + 300_000)
    time.sleep(0.5)
    with service.client(soon) as client:
        assert client.post(PATH, json=ask("Hello")).status_code == 401
    yard = Yard(service.folder / ".yard")
    with yard.ledger.write() as connection:
        narrow = keys.create(connection, "expires", "customer", ("usage",), now_us())[1]
        finance = keys.create(connection, None, "finance", (), now_us())[1]
    for secret in (narrow, finance):
        with service.client(secret) as client:
            assert client.post(PATH, json=ask("Hello")).status_code == 403
    with service.client(narrow) as client:
        assert client.get("/v1/usage").status_code == 200


def test_requests_a_minute_are_counted_and_told(service: Service) -> None:
    secret = make_key(service.folder, "limited", rpm=3)
    with service.client(secret) as client:
        replies = [client.post(PATH, json=ask("Hello")) for _ in range(4)]
    assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
    assert replies[0].headers["x-ratelimit-limit-requests"] == "3"
    assert replies[0].headers["x-ratelimit-remaining-requests"] == "2"
    assert error(replies[3])["code"] == "rate_limit_exceeded"
    assert 1 <= int(replies[3].headers["retry-after"]) <= 60


def test_tokens_a_minute_are_counted(service: Service) -> None:
    secret = make_key(service.folder, "talker", tpm=100)
    with service.client(secret) as client:
        assert client.post(PATH, json=ask("Hello", max_tokens=10)).status_code == 200
        refused = client.post(PATH, json=ask("Hello", max_tokens=90))
    assert refused.status_code == 429
    assert refused.headers["x-ratelimit-limit-tokens"] == "100"


def test_a_prompt_longer_than_the_context_is_refused_and_costs_nothing(
    service: Service, client: httpx.Client
) -> None:
    before = len(service.events())
    for body in (ask("word " * 600), ask("Hello", max_tokens=5000), ask("x" * 100_000)):
        response = client.post(PATH, json=body)
        assert (response.status_code, error(response)["code"]) == (400, "context_length_exceeded")
        assert error(response)["param"] == "messages"
    assert len(service.events()) == before
    held = service.rows(select(func.count().label("n")).where(hold.c.state == "held"))
    assert held == [{"n": 0}]


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"\xff", 400, "invalid_utf8"),
        (b'{"model": "desk"}', 400, "missing_required_parameter"),
        (b"x" * (300 << 10), 413, "body_too_large"),
    ],
)
def test_a_wrong_body_is_refused(client: httpx.Client, sent: bytes, status: int, code: str) -> None:
    response = client.post(PATH, content=sent)
    assert (response.status_code, error(response)["code"]) == (status, code)


def test_a_body_without_end_is_cut_off(service: Service, key: str) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(1 << 20):
            yield b" " * 4096

    with service.client(key) as client, suppress(httpx.WriteError):  # it may hang up while we still send
        assert client.post(PATH, content=endless()).status_code == 413


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/openapi.json", "/v1", "/v1/models/desk", "/v1/embeddings", "/v1/models/"]
)
def test_there_is_nothing_else(client: httpx.Client, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, error(response)["code"]) == (404, "not_found")
    assert response.headers["x-request-id"]


def test_another_method_is_told_which_there_are(client: httpx.Client) -> None:
    response = client.get(PATH)
    assert (response.status_code, error(response)["code"]) == (405, "method_not_allowed")


def test_a_parameter_in_the_address_is_refused(client: httpx.Client) -> None:
    assert client.post(PATH + "?temperature=1", json=ask("Hello")).status_code == 400


def test_an_event_has_the_id_that_the_customer_chose_and_is_counted_once(
    service: Service, client: httpx.Client
) -> None:
    first = client.post(PATH, json=ask("Hello"), headers={"Idempotency-Key": "order-1"})
    assert first.status_code == 200
    again = client.post(PATH, json=ask("Hello"), headers={"Idempotency-Key": "order-1"})
    assert (again.status_code, error(again)["code"]) == (409, "request_done")
    other = client.post(PATH, json=ask("Bye"), headers={"Idempotency-Key": "order-1"})
    assert (other.status_code, error(other)["code"]) == (409, "idempotency_conflict")
    assert sum(event["event_id"] == "order-1" for event in service.events()) == 1
    with service.client(make_key(service.folder, "neighbour")) as neighbour:
        theirs = neighbour.post(PATH, json=ask("Hello"), headers={"Idempotency-Key": "order-1"})
        assert theirs.status_code == 200  # the ids of one customer never meet another's
    for wrong in ("", "x" * 300):
        response = client.post(PATH, json=ask("Hello"), headers={"Idempotency-Key": wrong})
        assert (response.status_code, error(response)["param"]) == (400, "Idempotency-Key")


def test_a_client_s_own_request_id_is_never_ours(client: httpx.Client) -> None:
    response = client.post(PATH, json=ask("Hello"), headers={"x-request-id": "mine"})
    assert response.headers["x-request-id"].startswith("req-")


def wait_for(what: Any, most_s: float = 10.0) -> Any:
    until = time.monotonic() + most_s
    while not (found := what()):
        assert time.monotonic() < until
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
def test_a_client_that_goes_away_stops_the_engine_and_pays_for_what_was_written(
    slow: Service, stream: bool
) -> None:
    service, key = slow, make_key(slow.folder)
    before = len(service.events())
    body = json.dumps(ask("word " * 60, max_tokens=200, stream=stream)).encode()
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as link:
        head = (
            f"POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        link.sendall(head.encode() + body)
        time.sleep(0.3)
    event = wait_for(lambda: service.events()[before:])[0]
    assert event["finish"] == "cancelled"
    assert 0 < event["output_tokens"] < 150
    (row,) = service.rows(select(request_time).where(request_time.c.request_id == event["event_id"]))
    assert row["status"] == 499


def test_usage_is_the_customer_s_own(service: Service, client: httpx.Client) -> None:
    client.post(PATH, json=ask("Hello"))
    told = client.get("/v1/usage").json()
    ours = [event for event in service.events() if event["customer_id"] == "acme"]
    assert told["requests"] == len(ours)
    assert told["input_tokens"] == sum(event["input_tokens"] for event in ours)
    assert {event["source"] for event in told["events"]} == {"customer:acme"}
    assert client.get("/v1/usage?period=1999-01").json()["requests"] == 0
    for wrong in ("?period=x", "?period=2026-13", "?customer=neighbour", "?period=2026-01&period=2026-02"):
        assert client.get("/v1/usage" + wrong).status_code == 400


def test_where_the_time_went_is_written_down(service: Service, client: httpx.Client) -> None:
    id = client.post(PATH, json=ask("one two three four five six")).headers["x-request-id"]
    (row,) = service.rows(select(request_time).where(request_time.c.request_id == id))
    assert row["decode_us"] > 10_000  # 2 ms a token
    assert 0 < row["prefill_us"] < 1_000_000
    assert row["database_us"] > 0


def test_metrics_are_prometheus_text_without_customers(service: Service, client: httpx.Client) -> None:
    client.post(PATH, json=ask("Hello"))
    text = httpx.get(service.url + "/metrics").text
    assert 'modelyard_requests_total{route="/v1/chat/completions",status="200"}' in text
    assert "modelyard_output_tokens_total" in text
    assert "acme" not in text


def test_metrics_behind_a_proxy_need_a_key_that_may(service: Service, key: str) -> None:
    outside = {"x-forwarded-for": "203.0.113.7"}
    assert httpx.get(service.url + "/metrics", headers=outside).status_code == 404
    yard = Yard(service.folder / ".yard")
    with yard.ledger.write() as connection:
        auditor = keys.create(connection, None, "auditor", (), now_us())[1]
    for secret, status in ((key, 404), (auditor, 200)):
        headers = outside | {"authorization": f"Bearer {secret}"}
        assert httpx.get(service.url + "/metrics", headers=headers).status_code == status


def test_health_and_readiness_need_no_key(service: Service) -> None:
    assert httpx.get(service.url + "/healthz").json() == {"status": "alive"}
    assert httpx.get(service.url + "/readyz").json() == {"status": "ready"}
