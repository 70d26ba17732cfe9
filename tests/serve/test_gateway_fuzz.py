"""Whatever is sent, the gateway answers in OpenAI's form, never with a fault of its own, and goes on."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from tests.serve.service import Service, ask, make_key, make_yard, running

from modelyard.serve.app import ROUTES
from modelyard.serve.openapi import document

PATH = "/v1/chat/completions"
SETTINGS = "{callers: 8, context_tokens: 256, body_kib: 64}"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(make_yard(tmp_path_factory.mktemp("fuzz") / "yard", serve=SETTINGS)) as found:
        yield found


@pytest.fixture(scope="module")
def key(service: Service) -> str:
    return make_key(service.folder)


@pytest.fixture(scope="module")
def api(service: Service, key: str) -> Any:
    """The OpenAPI document, which nothing serves."""
    schema = schemathesis.openapi.from_dict(document())
    schema.config.update(base_url=service.url, headers={"Authorization": f"Bearer {key}"})
    return schema


def describe(api: Any, examples: int) -> None:
    """Every operation with so many cases that its description allows."""
    for found in api.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=examples,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        @given(operation.as_strategy())
        def answered(case: Any) -> None:
            response = case.call()
            assert response.status_code < 500, response.text
            if response.status_code >= 400:
                assert set(response.json()["error"]) == {"message", "type", "param", "code"}

        answered()


def test_the_openapi_document_tells_of_every_route_and_of_no_other() -> None:
    told = {(method.upper(), path) for path, found in document()["paths"].items() for method in found}
    assert told == set(ROUTES)


def test_what_the_openapi_document_allows_is_answered(api: Any) -> None:
    describe(api, 25)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_what_the_openapi_document_allows_is_answered_for_long(api: Any) -> None:
    describe(api, 3000)


WORDS: list[Any] = [
    None,
    True,
    0,
    -1,
    2**70,
    1e308,
    "",
    "x" * 300,
    "\ud83d\ude00\u0000",
    [],
    [[]],
    {},
    {"type": "text"},
]
NAMES = [
    "model",
    "messages",
    "stop",
    "n",
    "seed",
    "logprobs",
    "response_format",
    "stream_options",
    "max_tokens",
]


def body(chance: random.Random) -> bytes:
    """A request gone wrong somewhere."""
    told: dict[str, Any] = ask("Hello", max_tokens=3, stream=chance.random() < 0.3)
    for _ in range(chance.randint(0, 3)):
        told[chance.choice([*NAMES, "x"])] = chance.choice(WORDS)
    if chance.random() < 0.3:
        told["messages"] = [{chance.choice(["role", "content", "name"]): chance.choice(WORDS)}]
    data = bytearray(json.dumps(told).encode())
    if chance.random() < 0.5:
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(data))
            data[at : at + chance.randint(0, 2)] = bytes(chance.choices(range(256), k=chance.randint(0, 2)))
    return bytes(data)


def raw(key: str, chance: random.Random) -> tuple[bytes, bool]:
    """A whole HTTP request gone wrong, in its head (then true, for it may ask for more) or in its body."""
    sent = body(chance)
    length = len(sent) if chance.random() < 0.8 else chance.choice([0, len(sent) - 1, -5])
    path = chance.choice(
        [PATH, PATH, "/v1/completions", "/v1/usage", "/v1/models", "//", "/%ff", "/?" + "a" * 3000]
    )
    head = f"{chance.choice(['POST', 'POST', 'GET', 'PUT', 'X' * 40])} {path} HTTP/1.1\r\nhost: x\r\n"
    head += f"authorization: Bearer {key}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    data = bytearray(head.encode("latin-1"))
    broken = chance.random() < 0.3
    if broken:
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data) + sent, broken


async def send(url: str, data: bytes, ends: bool) -> bytes:
    """What comes back, in ten seconds at most."""
    host, port = url.removeprefix("http://").split(":")
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(data)
            if ends:
                writer.write_eof()
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()


def throw(service: Service, key: str, count: int, seed: int) -> None:
    """Send many, some of them at once; none may be met by a fault, and none may hang."""
    chance = random.Random(seed)

    async def go() -> list[bytes]:
        replies = []
        for _ in range(count // 20):
            replies += await asyncio.gather(*(send(service.url, *raw(key, chance)) for _ in range(20)))
        return replies

    statuses = [reply.split(b" ", 2)[1] for reply in asyncio.run(go()) if reply.startswith(b"HTTP/1.1 ")]
    assert len(statuses) > count // 2
    assert {status for status in statuses if status >= b"500"} == set()
    assert {b"200", b"400", b"404", b"405"} <= set(statuses)
    assert httpx.get(service.url + "/readyz").status_code == 200
    assert "failed" not in service.log
    assert "unexpected" not in service.log


def test_20000_malformed_requests_are_refused_and_the_gateway_goes_on(service: Service, key: str) -> None:
    throw(service, key, 20_000, 1)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_very_many_malformed_requests(service: Service, key: str) -> None:
    throw(service, key, 100_000, 2)


def test_what_was_answered_is_what_was_counted(service: Service, key: str, tmp_path: Path) -> None:
    """After all of it the books hold nothing and every answer is an event."""
    from sqlalchemy import func, select

    from modelyard.records.tables.service import hold

    states = service.rows(select(hold.c.state, func.count().label("n")).group_by(hold.c.state))
    assert {row["state"] for row in states} <= {"settled", "released"}
    settled = sum(row["n"] for row in states if row["state"] == "settled")
    assert settled == len(service.events())
