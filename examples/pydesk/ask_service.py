"""Start the service, ask it with the real `openai` client, and show what was used and what it costs.

    python ask_service.py [--once] [--port 8080] QUESTION

Serves in the foreground until Ctrl-C; with --once it stops after the answer.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from openai import OpenAI

CUSTOMER, PLAN = "demo", "starter"
START_S = 120.0  # loading the model takes a second or two; a busy machine takes longer
MODELYARD = Path(sys.executable).with_name("modelyard")


def main() -> None:
    """Serve, ask, show, and go on serving."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--once", action="store_true")
    told = parser.parse_args()
    port = told.port if _free(told.port) else _any_port()
    key = modelyard("keys", "create", "--customer", CUSTOMER, "--plan", PLAN)["key"]
    service = subprocess.Popen([MODELYARD, "serve", "--port", str(port)])
    try:
        _wait(f"http://127.0.0.1:{port}/readyz", service)
        ask(f"http://127.0.0.1:{port}/v1", key, told.question)
        if not told.once:
            _invite(port, key)
            service.wait()
    except KeyboardInterrupt:
        pass
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait()


def ask(url: str, key: str, question: str) -> None:
    """One question as any program would ask it, and what the service knows of it afterwards."""
    client = OpenAI(base_url=url, api_key=key)
    (model,) = client.models.list()
    told = client.chat.completions.with_raw_response.create(
        model=model.id, messages=[{"role": "user", "content": question}]
    )
    completion = told.parse()
    message, usage = completion.choices[0].message, completion.usage
    print(f"question   {question}\nanswer     {message.content}")
    for citation in message.annotations or []:
        print(f"citation   {_citation(citation.model_dump())}")
    if usage is not None:
        print(f"usage      {usage.prompt_tokens} tokens read, {usage.completion_tokens} written")
    event = modelyard("usage", "--customer", CUSTOMER)["events"][-1]
    print(f"price      list {event['list']} USD, charged {event['charged']} USD (the plan includes tokens)")
    print(f"release    {told.headers['x-modelyard-release']}\n")
    month = datetime.now(UTC).strftime("%Y-%m")
    subprocess.run([MODELYARD, "invoice", "preview", "--customer", CUSTOMER, "--period", month], check=True)


def modelyard(*arguments: str) -> dict[str, Any]:
    """The result of a verb."""
    said = subprocess.run([MODELYARD, *arguments, "--json"], capture_output=True, text=True, check=False)
    told = json.loads(said.stdout)
    if not told["ok"]:
        raise SystemExit(f"{told['error']['what']}\ntry: {told['error']['try']}")
    result: dict[str, Any] = told["result"]
    return result


def _citation(told: dict[str, Any]) -> str:
    found = told.get("file_citation", told)
    return f"{found.get('document')} ({found.get('licence')})"


def _invite(port: int, key: str) -> None:
    body = json.dumps(
        {"model": "pydesk", "messages": [{"role": "user", "content": "Which module has deque?"}]}
    )
    print(f"\nserving at http://127.0.0.1:{port}/v1 until Ctrl-C; from another terminal:")
    print(f"  curl http://127.0.0.1:{port}/v1/chat/completions -H 'Authorization: Bearer {key}' \\")
    print(f"    -H 'Content-Type: application/json' -d '{body}'")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _any_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(url: str, service: subprocess.Popen[bytes]) -> None:
    """Wait until the service can answer."""
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if service.poll() is not None:
            raise SystemExit(service.returncode)
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise SystemExit(f"the service was not ready within {START_S:.0f} s")


if __name__ == "__main__":
    main()
