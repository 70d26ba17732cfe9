"""Makes tests/yards/service: a yard that has earned, which every later release must open.

    python -m tests.serve.keep FOLDER

It holds a release on the engine echo, two customers, a key, budgets, prices with a typo set right, requests
that a gateway answered, imported events, one of them set aside. `expected.json` says what they come to.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.bill import shop
from tests.serve.service import ask, make_key, make_yard, running

from modelyard.bill.period import month_of, to_text
from modelyard.records.clock import now_us

IMPORTED = (
    ("1", "bolt", 1_000_000, 200_000),
    ("2", "bolt", 70, 30),
    ("3", "nobody", 1, 1),
)


def main(target: Path) -> None:
    """Make the yard at `target`, which must not be there."""
    folder = make_yard(target, ground=True)
    key = make_key(folder)
    project = folder / "modelyard.yaml"
    right = project.read_text("utf-8")
    project.write_text(right.replace("1.20", "120"), "utf-8")
    modelyard(folder, "prices", "publish")
    modelyard(folder, "customers", "add", "bolt", "--plan", "starter", "--timezone", "Asia/Shanghai")
    begun = now_us()
    modelyard(folder, "budgets", "set", "--customer", "acme", "--tokens", "100000")
    modelyard(folder, "budgets", "set", "--money", "1000", "--soft")
    with running(folder) as service, service.client(key) as client:
        for text in (
            "What does the anvil cost?",
            "What does the winch cost?",
            "Who was the first king of Rome?",
        ):
            client.post("/v1/chat/completions", json=ask(text)).raise_for_status()
    events = folder / "events.jsonl"
    events.write_bytes(
        b"".join(
            shop.lines(
                shop.event(id, customer, begun, input_tokens=read, output_tokens=written)
                for id, customer, read, written in IMPORTED
            )
        )
    )
    modelyard(folder, "usage", "import", str(events))
    events.unlink()
    project.write_text(right, "utf-8")
    modelyard(folder, "prices", "rerate", "starter@2", "starter@1", "--reason", "a point was lost")
    expected = {"key": key, "cutoff": to_text(now_us()), "customers": {}}
    for customer, zone in (("acme", "UTC"), ("bolt", "Asia/Shanghai")):
        period = month_of(begun, zone).label
        expected["customers"][customer] = {"period": period} | told(
            folder, customer, period, expected["cutoff"]
        )
    (folder / "expected.json").write_text(json.dumps(expected, indent=2) + "\n", "utf-8")
    shutil.rmtree(folder / "docs")
    shutil.rmtree(folder / ".yard" / "view")  # made again from the store
    (folder / ".yard" / "gateway.lock").unlink()
    (folder / ".yard").rename(folder / "yard")


def told(folder: Path, customer: str, period: str, cutoff: str) -> dict[str, Any]:
    """What usage and preview say of a customer."""
    asked = ("--customer", customer, "--period", period, "--cutoff", cutoff)
    return {
        "usage": modelyard(folder, "usage", *asked),
        "preview": modelyard(folder, "invoice", "preview", *asked),
    }


def modelyard(folder: Path, *arguments: str) -> Any:
    """The result of a verb."""
    command = [sys.executable, "-m", "modelyard", *arguments, "--json", "--project", str(folder)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    answer = json.loads(said)
    if not answer["ok"]:
        raise SystemExit(said)
    return answer["result"]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
