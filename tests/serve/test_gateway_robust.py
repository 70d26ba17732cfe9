"""What goes wrong around the gateway harms one request at most, and never the books."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import func, select
from tests.serve.service import Service, add_release, ask, make_key, make_yard, running

from modelyard.prompt import Prompter
from modelyard.records.clock import now_us
from modelyard.records.tables.service import hold
from modelyard.records.yard import Yard
from modelyard.serve import budgets

PATH = "/v1/chat/completions"
LONG = "one two three four five six seven eight nine ten eleven twelve"


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> int:
    """A token that only a prompt with a tilde has."""
    folder = make_yard(tmp_path_factory.mktemp("token") / "yard")
    (release,) = Yard(folder / ".yard").find(step="release.choose")
    (id,) = Prompter(release.folder).encode("~")
    return id


def held(service: Service) -> int:
    """Holds that stand."""
    (row,) = service.rows(select(func.count().label("n")).where(hold.c.state == "held"))
    return int(row["n"])


def wait_for(what: Any, most_s: float = 20.0) -> None:
    until = time.monotonic() + most_s
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)


def ended(process: psutil.Process) -> bool:
    """Gone, or a zombie: who takes its orphans decides when they are reaped, in a container maybe never."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def ready(service: Service) -> bool:
    return httpx.get(service.url + "/readyz").status_code == 200


def test_a_crash_of_the_engine_is_told_and_costs_nothing(tmp_path: Path, token: int) -> None:
    folder = make_yard(tmp_path / "yard", habits={"crash_on": token, "step_s": 0.01})
    with running(folder) as service, service.client(make_key(folder)) as client:
        with ThreadPoolExecutor(2) as pool:
            other = pool.submit(client.post, PATH, json=ask(LONG, max_tokens=60))
            time.sleep(0.1)
            crashed = client.post(PATH, json=ask("~"))
            beside = other.result()
        for response in (crashed, beside):
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "engine_failed"
            assert int(response.headers["retry-after"]) >= 1
        assert held(service) == 0
        assert service.events() == []
        wait_for(lambda: ready(service))
        assert client.post(PATH, json=ask("Hello")).status_code == 200
        text = httpx.get(service.url + "/metrics").text
        assert "modelyard_engine_restarts_total 1.0" in text


def test_a_crash_in_a_stream_ends_it_with_an_error(tmp_path: Path) -> None:
    folder = make_yard(tmp_path / "yard", habits={"step_s": 0.02})
    with running(folder) as service, service.client(make_key(folder)) as client:
        with client.stream("POST", PATH, json=ask(LONG, max_tokens=60, stream=True)) as response:
            lines = []
            for line in response.iter_lines():
                lines.append(line)
                if len(lines) == 6:
                    os.kill(service.engine_pid(), signal.SIGKILL)
        said = "\n".join(lines)
        assert '"code":"engine_failed"' in said
        assert "[DONE]" not in said
        assert held(service) == 0


def test_a_hanging_engine_is_ended_and_started_again(tmp_path: Path, token: int) -> None:
    folder = make_yard(tmp_path / "yard", habits={"hang_on": token}, serve="{silence_s: 1}")
    with running(folder) as service, service.client(make_key(folder)) as client:
        assert client.post(PATH, json=ask("~")).status_code == 503
        wait_for(lambda: ready(service))
        assert client.post(PATH, json=ask("Hello")).status_code == 200


def test_a_request_past_its_deadline_is_stopped_and_not_billed(tmp_path: Path) -> None:
    folder = make_yard(tmp_path / "yard", habits={"step_s": 0.05}, serve="{deadline_s: 0.5}")
    with running(folder) as service, service.client(make_key(folder)) as client:
        response = client.post(PATH, json=ask(LONG, max_tokens=60))
        assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")
        assert service.events() == []
        assert held(service) == 0


def test_a_full_queue_says_when_to_come_again(tmp_path: Path) -> None:
    folder = make_yard(tmp_path / "yard", habits={"step_s": 0.01}, serve="{callers: 1, queue: 1}")
    with running(folder) as service, service.client(make_key(folder)) as client:
        with ThreadPoolExecutor(12) as pool:
            asked = [pool.submit(client.post, PATH, json=ask(LONG, max_tokens=30)) for _ in range(12)]
            replies = [one.result() for one in asked]
        refused = [reply for reply in replies if reply.status_code == 503]
        assert 1 <= len(refused) <= 11
        assert all(int(reply.headers["retry-after"]) >= 1 for reply in refused)
        assert sum(reply.status_code == 200 for reply in replies) == 12 - len(refused)
        assert len(service.events()) == 12 - len(refused)


def test_a_request_that_waits_too_long_is_told(tmp_path: Path) -> None:
    folder = make_yard(tmp_path / "yard", habits={"step_s": 0.05}, serve="{callers: 1, queue_s: 0.3}")
    with running(folder) as service, service.client(make_key(folder)) as client:
        with ThreadPoolExecutor(6) as pool:
            asked = [pool.submit(client.post, PATH, json=ask(LONG, max_tokens=8)) for _ in range(6)]
            replies = [one.result() for one in asked]
        assert {reply.status_code for reply in replies} == {200, 503}


def test_a_newer_release_is_swapped_in_without_a_failed_request(tmp_path: Path) -> None:
    folder = make_yard(tmp_path / "yard", habits={"step_s": 0.005})
    first = Yard(folder / ".yard").find(step="release.choose")[0].id
    with running(folder) as service, service.client(make_key(folder)) as client:
        seen: list[tuple[int, str]] = []
        over = threading.Event()

        def keep_asking() -> None:
            while not over.is_set():
                response = client.post(PATH, json=ask("Hello there"))
                seen.append((response.status_code, response.headers.get("x-modelyard-release", "")))

        with ThreadPoolExecutor(4) as pool:
            for _ in range(4):
                pool.submit(keep_asking)
            second = add_release(folder, habits={"step_s": 0.005}, attempt=2)
            wait_for(lambda: any(release == second for _, release in seen))
            roll_back = [
                sys.executable,
                "-m",
                "modelyard",
                "release",
                "roll-back",
                "--reason",
                "it was worse",
            ]
            subprocess.run([*roll_back, "--project", str(folder)], check=True)  # and back
            count = len(seen)
            wait_for(lambda: any(release == first for _, release in seen[count + 8 :]))
            third = add_release(folder, habits={"step_s": 0.005}, attempt=3)
            wait_for(lambda: any(release == third for _, release in seen))
            over.set()
        assert {status for status, _ in seen} == {200}
        assert {event["release_id"] for event in service.events()} == {first, second, third}


def test_a_newer_release_that_was_tampered_with_is_not_served(tmp_path: Path) -> None:
    folder = make_yard(tmp_path / "yard")
    with running(folder) as service, service.client(make_key(folder)) as client:
        id = add_release(folder, attempt=2, answer_tokens=30)
        tamper(folder, id, "release.json")
        wait_for(lambda: "not served" in service.log)
        response = client.post(PATH, json=ask("Hello"))
        assert response.status_code == 200
        assert response.headers["x-modelyard-release"] != id


def tamper(folder: Path, id: str, name: str) -> None:
    """Change a byte of a release's file in the store."""
    yard = Yard(folder / ".yard")
    (release,) = yard.find(id=id)
    place = yard.store.path(release.files[name].sha256)
    data = bytearray(place.read_bytes())
    data[-1] ^= 1
    place.chmod(0o644)
    with place.open("r+b") as stream:
        stream.write(data)


@pytest.mark.parametrize("name", ["model.gguf", "chat_template.jinja", "SHA256SUMS"])
def test_a_tampered_release_is_refused_at_start(tmp_path: Path, name: str) -> None:
    folder = make_yard(tmp_path / "yard")
    tamper(folder, "feedfacecafe0001-1", name)
    with running(folder) as service:
        assert service.process.wait(30) == 1
    assert f"{name} was changed" in service.log


def test_a_file_put_into_the_release_s_folder_is_refused_at_start(tmp_path: Path) -> None:
    folder = make_yard(tmp_path / "yard")
    yard = Yard(folder / ".yard")
    view = yard.find(step="release.choose")[0].folder
    (view / "extra.txt").write_text("x")
    with running(folder) as service:
        assert service.process.wait(30) == 1
    assert "extra.txt is missing or was put in" in service.log


def test_a_file_replaced_in_the_release_s_folder_is_not_what_is_served(tmp_path: Path) -> None:
    folder = make_yard(tmp_path / "yard")
    view = Yard(folder / ".yard").find(step="release.choose")[0].folder
    (view / "chat_template.jinja").unlink()
    (view / "chat_template.jinja").write_text("{{ messages }}")
    with running(folder) as service, service.client(make_key(folder)) as client:
        body = client.post(PATH, json=ask("Hello")).json()
        assert body["choices"][0]["message"]["content"] == "user\nHello"


def test_without_a_release_there_is_nothing_to_serve(tmp_path: Path) -> None:
    folder = make_yard(tmp_path / "yard")
    shutil.rmtree(folder / ".yard")
    with running(folder) as service:
        assert service.process.wait(30) == 2
    assert "there is no release yet" in service.log


def test_a_second_gateway_on_the_yard_and_a_taken_port_are_refused(tmp_path: Path) -> None:
    folder = make_yard(tmp_path / "yard")
    with running(folder) as service:
        with running(folder) as second:
            assert second.process.wait(30) == 1
        assert "use PostgreSQL" in second.log
        other = make_yard(tmp_path / "other")
        port = service.url.rsplit(":", 1)[1]
        with running(other, "--port", port) as third:
            assert third.process.wait(30) == 1
        assert f"127.0.0.1:{port} cannot be listened on" in third.log
        assert ready(service)


def test_after_a_kill_the_next_gateway_starts_and_frees_what_was_held(tmp_path: Path) -> None:
    folder = make_yard(tmp_path / "yard", habits={"step_s": 0.05})
    with running(folder) as service, service.client(make_key(folder)) as client:
        pool = ThreadPoolExecutor(1)
        asked = pool.submit(client.post, PATH, json=ask(LONG, max_tokens=60))
        wait_for(lambda: held(service) == 1)
        engine = psutil.Process(service.engine_pid())
        service.stop(signal.SIGKILL)
        with pytest.raises(httpx.HTTPError):
            asked.result()
    with running(folder) as service, service.client(make_key(folder)) as client:
        assert client.post(PATH, json=ask("Hello", max_tokens=2)).status_code == 200
    wait_for(lambda: ended(engine))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_answers_what_is_under_way_and_takes_no_more(tmp_path: Path, how: int) -> None:
    folder = make_yard(tmp_path / "yard", habits={"step_s": 0.02})
    with running(folder) as service, service.client(make_key(folder)) as client:
        with ThreadPoolExecutor(2) as pool:
            asked = pool.submit(client.post, PATH, json=ask(LONG, max_tokens=40))
            wait_for(lambda: held(service) == 1)
            began = time.monotonic()
            service.process.send_signal(how)
            time.sleep(0.1)
            late = client.post(PATH, json=ask("Hello"))
            assert late.status_code == 503
            assert asked.result().json()["usage"]["completion_tokens"] == 40
            assert service.process.wait(20) == 0
        assert time.monotonic() - began < 10
        (event,) = service.events()
        assert event["output_tokens"] == 40


def test_what_does_not_end_in_time_is_stopped_and_settled(tmp_path: Path) -> None:
    folder = make_yard(tmp_path / "yard", habits={"step_s": 0.1}, serve="{drain_s: 3.5}")
    with running(folder) as service, service.client(make_key(folder)) as client:
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(client.post, PATH, json=ask(LONG, max_tokens=60))
            wait_for(lambda: held(service) == 1)
            began = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            body = asked.result().json()
            assert service.process.wait(20) == 0
        assert time.monotonic() - began < 8
        (event,) = service.events()
        assert 0 < body["usage"]["completion_tokens"] == event["output_tokens"] < 60
        assert body["choices"][0]["finish_reason"] == "length"
        assert held(service) == 0


def test_another_host_is_warned_about(tmp_path: Path) -> None:
    folder = make_yard(tmp_path / "yard")
    with running(folder, "--host", "0.0.0.0") as service:
        assert "speaks no TLS" in service.log
    with running(folder) as service:
        assert "speaks no TLS" not in service.log


def test_a_hard_budget_holds_exactly_under_200_parallel_callers(tmp_path: Path) -> None:
    folder = make_yard(tmp_path / "yard", serve="{callers: 8, queue: 200}")
    key = make_key(folder)
    yard = Yard(folder / ".yard")
    with yard.ledger.write() as connection:
        budgets.set_(connection, "customer", "acme", "day", "tokens", "", 1000, True, now_us())
    limits = httpx.Limits(max_connections=200)
    with running(folder) as service, service.client(key, limits=limits) as client:
        with ThreadPoolExecutor(200) as pool:
            asked = [pool.submit(client.post, PATH, json=ask("Hello there")) for _ in range(400)]
            replies = [one.result() for one in asked]
        spent = sum(event["input_tokens"] + event["output_tokens"] for event in service.events())
        refused = [reply for reply in replies if reply.status_code != 200]
        assert {reply.status_code for reply in refused} == {429}
        assert {reply.json()["error"]["code"] for reply in refused} == {"insufficient_quota"}
        assert all(reply.headers["x-should-retry"] in ("true", "false") for reply in refused)
        one = replies[0].json()["usage"]["total_tokens"]
        assert 1000 - 2 * one < spent <= 1000
        assert held(service) == 0


def test_2000_slow_connections_leave_the_rest_served(tmp_path: Path) -> None:
    folder = make_yard(tmp_path / "yard")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with running(folder) as service, service.client(make_key(folder)) as client:
        host, port = service.url.removeprefix("http://").split(":")
        slow = [socket.create_connection((host, int(port))) for _ in range(2000)]
        try:
            for at, link in enumerate(slow):
                link.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" if at % 2 else b"GET")
            began = time.monotonic()
            assert client.post(PATH, json=ask("Hello")).status_code == 200
            assert time.monotonic() - began < 5
        finally:
            for link in slow:
                link.close()


def test_a_price_that_is_taken_away_is_refused_and_never_free(tmp_path: Path) -> None:
    from modelyard.records.tables.business import contract

    folder = make_yard(tmp_path / "yard")
    key = make_key(folder)
    yard = Yard(folder / ".yard")
    with yard.ledger.write() as connection:
        connection.execute(contract.update().values(end_us=now_us()))
    with running(folder) as service, service.client(key) as client:
        response = client.post(PATH, json=ask("Hello"))
        assert (response.status_code, response.json()["error"]["code"]) == (403, "no_contract")
        assert service.events() == []


def test_a_ledger_that_cannot_be_written_refuses(tmp_path: Path) -> None:
    folder = make_yard(tmp_path / "yard")
    with running(folder) as service, service.client(make_key(folder)) as client:
        yard = Yard(folder / ".yard")
        assert client.post(PATH, json=ask("Hello")).status_code == 200
        with yard.ledger.write():  # held for longer than the gateway waits
            response = client.post(PATH, json=ask("Hello"))
        assert (response.status_code, response.json()["error"]["code"]) == (503, "ledger_unavailable")
        assert client.post(PATH, json=ask("Hello")).status_code == 200
        assert len(service.events()) == 2


def test_a_backup_of_a_running_service_serves_in_an_empty_folder(tmp_path: Path) -> None:
    folder, copy, other = make_yard(tmp_path / "yard"), tmp_path / "copy", tmp_path / "other"
    key = make_key(folder)
    modelyard = [sys.executable, "-m", "modelyard"]
    with running(folder) as service, service.client(key) as client:
        assert client.post(PATH, json=ask("Hello")).status_code == 200
        subprocess.run([*modelyard, "backup", str(copy), "--project", str(folder)], check=True)
        client.post(PATH, json=ask("This is not in the copy"))
    other.mkdir()
    subprocess.run([*modelyard, "restore", str(copy), "--project", str(other)], check=True)
    shutil.rmtree(folder)
    with running(other) as service, service.client(key) as client:
        assert client.post(PATH, json=ask("Hello")).status_code == 200
        assert len(service.events()) == 2
