"""What people ask, what they are told and how they prove who they are stays out of every trace we leave."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from tests.serve.service import Service, ask, make_key, make_yard, running

from modelyard.prompt import Prompter
from modelyard.records.yard import Yard

PATH = "/v1/chat/completions"
PLANTED = "zanzibar-4711-quokka"
CRASH = "~"


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, str, str, list[str]]]:
    """A gateway through which planted words went every way that we know, and what it told on refusals."""
    folder = make_yard(tmp_path_factory.mktemp("secrets") / "yard")
    (release,) = Yard(folder / ".yard").find(step="release.choose")
    (token,) = Prompter(release.folder).encode(CRASH)
    folder = make_yard(
        tmp_path_factory.mktemp("secrets") / "yard",
        habits={"crash_on": token, "step_s": 0.005},
        serve="{body_kib: 64}",
    )
    key = make_key(folder)
    with running(folder) as service, service.client(key) as client:
        told = use(client, service)
        metrics = httpx.get(service.url + "/metrics").text
        service.stop(signal.SIGTERM)
        yield service, key, metrics, told


def use(client: httpx.Client, service: Service) -> list[str]:
    """Send planted words along every way; returns the refusals."""
    told: list[str] = []

    def send(content: bytes | None = None, path: str = PATH, **options: object) -> httpx.Response:
        response = client.post(path, content=content, **options)  # type: ignore[arg-type]
        if response.status_code != 200:
            told.append(response.text + str(response.headers))
        return response

    assert PLANTED in send(json=ask(PLANTED)).text  # echo says it back
    assert send(json=ask(PLANTED, stream=True)).status_code == 200
    send(json=ask(PLANTED, stop=PLANTED, user=PLANTED, metadata={"a": PLANTED}))
    send(json=ask(PLANTED), headers={"Idempotency-Key": "same"})
    send(json=ask(PLANTED), headers={"Idempotency-Key": "same"})
    send(json=ask("other"), headers={"Idempotency-Key": "same"})
    send(json=ask(PLANTED + CRASH))  # the engine dies with it
    until = time.monotonic() + 20
    while httpx.get(service.url + "/readyz").status_code != 200:
        assert time.monotonic() < until
        time.sleep(0.05)
    for body in (
        {"model": PLANTED, "messages": [{"role": "user", "content": PLANTED}]},
        ask(PLANTED, **{PLANTED: 1}),
        ask(PLANTED, temperature=PLANTED),
        ask(PLANTED, response_format={"type": PLANTED}),
        ask(PLANTED, max_tokens=10**6),
        ask(PLANTED * 1000),
        {"model": "desk", "messages": [{"role": PLANTED, "content": PLANTED}]},
        {"model": "desk", "messages": [{"role": "user", "content": [{"type": PLANTED}]}]},
        {"model": "desk", "messages": [{"role": "user", "content": PLANTED, PLANTED: 1}]},
        {"model": "desk", "prompt": PLANTED},
    ):
        send(json=body)
    for raw in (f'{{"{PLANTED}', f'{{"model": {PLANTED}}}', f'"{PLANTED}\ud800"', PLANTED * 10_000):
        send(raw.encode("utf-8", "surrogatepass"))
    send(json=ask("x"), path=f"/{PLANTED}")
    send(json=ask("x"), path=f"{PATH}?{PLANTED}={PLANTED}")
    send(json=ask("x"), headers={"authorization": f"Bearer {PLANTED}"})
    send(json=ask("x"), headers={"Idempotency-Key": PLANTED * 20})
    with suppress(httpx.ReadTimeout):
        client.post(PATH, json=ask(PLANTED + " word" * 30, max_tokens=100), timeout=0.05)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: send(json=ask(PLANTED)), range(8)))
    return told


def traces(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of the project after the gateway has gone, but the release's own."""
    for path in folder.rglob("*"):
        if path.is_file() and "store" not in path.parts and "view" not in path.parts:
            yield str(path), path.read_bytes()


Left = tuple[Service, str, str, list[str]]


def test_nothing_that_was_said_is_in_any_file_of_the_yard(left: Left) -> None:
    service = left[0]
    found = [name for name, data in traces(service.folder) if PLANTED.encode() in data]
    assert found == []
    assert any(name.endswith("yard.db") for name, _ in traces(service.folder))
    assert len(service.events()) >= 12


def test_no_key_is_in_any_file_of_the_yard(left: Left) -> None:
    service, key = left[:2]
    secret = key.removeprefix("my-")[8:].encode()
    assert [name for name, data in traces(service.folder) if secret in data] == []


def test_neither_the_log_nor_the_metrics_tell(left: Left) -> None:
    service, key, metrics, _ = left
    assert "the engine has ended" in service.log
    for text in (service.log, metrics):
        assert PLANTED not in text
        assert key.removeprefix("my-")[8:] not in text


def test_no_refusal_quotes_what_was_sent(left: Left) -> None:
    told = left[3]
    assert len(told) >= 18
    assert [text for text in told if PLANTED in text] == []


def test_an_event_has_no_field_for_words(left: Left) -> None:
    """A new column must be looked at before it is filled."""
    event = left[0].events()[0]
    texts = {name for name, value in event.items() if isinstance(value, str)}
    assert texts == {
        "source",
        "event_id",
        "customer_id",
        "key_id",
        "contract_id",
        "meter",
        "plan_version_id",
        "release_id",
        "finish",
        "kind",
        "body_mac",
    }
    assert PLANTED not in json.dumps(event)
