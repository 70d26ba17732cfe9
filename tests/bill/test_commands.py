"""The verbs of money as a person types them, rightly and wrongly."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from tests.bill.shop import event, lines
from tests.line.command import Command

from modelyard.bill.period import month_of, to_text
from modelyard.records.clock import now_us

FILE = """version: 1
name: desk
data: {sources: [{path: docs, licence: CC0-1.0, owner: Nobody, basis: own}]}
"""
PRICES = """prices:
  currency: USD
  plans:
    starter: {monthly: 29, included_tokens: 100, per_million_input: 0.30, per_million_output: 1.20}
"""
HOUR = 3_600_000_000


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    (tmp_path / "modelyard.yaml").write_text(FILE + PRICES)
    return Command(tmp_path, monkeypatch, capsys)


def write(folder: Path, *events: dict[str, object]) -> str:
    (folder / "events.jsonl").write_bytes(b"".join(lines(events)))
    return "events.jsonl"


def test_from_prices_to_the_preview_of_an_invoice(command: Command, tmp_path: Path) -> None:
    at_us = now_us() - HOUR
    period = month_of(at_us, "UTC").label
    assert command("prices", "publish").code == 0
    assert command("prices", "publish", "--json").json["result"]["new"] == []
    since = to_text(at_us - HOUR)
    said = command("customers", "add", "acme", "--plan", "starter", "--since", since, "--json").json["result"]
    assert (said["contract"], said["currency"]) == ("acme/1", "USD")
    given = [
        event("1", "acme", at_us, input_tokens=90, cached_tokens=40, output_tokens=10, release="rel-1"),
        event("2", "acme", at_us + 1, input_tokens=1_000_000, output_tokens=500_000, release="rel-2"),
    ]
    said = command("usage", "import", write(tmp_path, *given), "--json").json["result"]
    assert said == {"accepted": 2, "counted": 2, "duplicates": 0, "conflicts": 0, "quarantined": 0}
    used = command("usage", "--customer", "acme", "--json").json["result"]
    assert (used["requests"], used["input_tokens"], used["output_tokens"]) == (2, 1_000_090, 500_010)
    assert [(e["id"], e["list"], e["charged"], e["release"]) for e in used["events"]] == [
        ("1", "0.000039", "0", "rel-1"),
        ("2", "0.9", "0.9", "rel-2"),
    ]
    told = command("invoice", "preview", "--customer", "acme", "--period", period, "--json").json["result"]
    assert set(told) >= {"currency", "total", "lines"}
    assert all(
        set(line) >= {"text", "quantity", "unit_price", "list", "charged", "events", "release"}
        for line in told["lines"]
    )
    assert [(line["item"], line["quantity"], line["charged"], line["release"]) for line in told["lines"]] == [
        ("monthly", 1, "29.00", None),
        ("input.included", 50, "0.00", "rel-1"),
        ("input", 1_000_000, "0.30", "rel-2"),
        ("cached.included", 40, "0.00", "rel-1"),
        ("output.included", 10, "0.00", "rel-1"),
        ("output", 500_000, "0.60", "rel-2"),
    ]
    assert told["total"] == "29.90"
    page = command("invoice", "preview", "--customer", "acme", "--period", period)
    assert "29.90 USD before tax, requests: 2" in page.out
    then = command(
        "invoice", "preview", "--customer", "acme", "--period", period, "--cutoff", since, "--json"
    )
    assert then.json["result"]["requests"] == 0
    assert command("audit", "verify").code == 0


def test_a_typo_in_a_price_is_one_command(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "modelyard.yaml"
    file.write_text(FILE + PRICES.replace("1.20", "120"))
    command("customers", "add", "acme", "--plan", "starter")  # publishes the file's prices
    file.write_text(FILE + PRICES)
    shown = command("prices", "show")
    assert "not charged by until" in shown.err
    said = command("prices", "rerate", "starter@1", "--reason", "a point was lost", "--json").json["result"]
    assert said == {"wrong": "starter@1", "right": "starter@2", "budget_windows": 0}
    (one, two) = command("prices", "show", "starter", "--json").json["result"]["versions"]
    assert (one["charged_by"], two["charged_by"], two["per_million_output"]) == ("starter@2", None, "1.2")
    listed = command("customers", "list", "--json").json["result"]["customers"]
    assert [(c["id"], c["price_version"]) for c in listed] == [("acme", "starter@2")]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("usage",), 2, "whose use?"),
        (("usage", "--customer", "nobody"), 2, "there is no customer 'nobody'"),
        (("usage", "--customer", "acme", "--period", "november"), 2, "is no month"),
        (("usage", "--customer", "acme", "--cutoff", "now"), 2, "is no time"),
        (("usage", "--customer", "acme", "--most", "-1"), 2, "--most"),
        (("usage", "--customer", "acme", "export"), 2, "options go after `usage export`"),
        (("usage", "export", "--json"), 2, "--to FILE"),
        (("usage", "import", "nowhere.jsonl"), 2, "nowhere.jsonl"),
        (("usage", "quarantine", "admit", "7", "--reason", "x"), 2, "there is no event 7"),
        (("usage", "quarantine", "admit", "x", "--reason", "x"), 2, "not a valid integer"),
        (("invoice", "preview"), 2, "--customer"),
        (("invoice", "preview", "--customer", "acme", "--period", "2026-13"), 2, "is no month"),
        (("customers", "add", "acme"), 2, "already"),
        (("customers", "add", "a b"), 2, "no id of a customer"),
        (("customers", "add", "x", "--currency", "DOGE"), 2, "no currency"),
        (("customers", "add", "x", "--timezone", "../etc/passwd"), 2, "no time zone"),
        (("customers", "add", "x", "--plan", "gold"), 2, "never published"),
        (("customers", "add", "x", "--since", "2026-11-01"), 2, "--since"),
        (("customers", "add", "x", "--plan", "starter", "--since", "2999-01-01"), 2, "in the past"),
        (("customers", "add", "x", "--country", "Germany"), 2, "no country code"),
        (("prices", "show", "gold"), 2, "never published"),
        (("prices", "rerate", "starter@9", "--reason", "x"), 2, "no version"),
        (("prices", "rerate", "starter@1"), 2, "--reason"),
    ],
)
def test_what_is_typed_wrongly_is_told_and_changes_nothing(
    command: Command, arguments: tuple[str, ...], code: int, says: str
) -> None:
    command("customers", "add", "acme", "--plan", "starter")
    before = command("customers", "list", "--json").out
    said = command(*arguments)
    assert (said.code, says in said.err + said.out) == (code, True), said
    assert "Traceback" not in said.err
    assert command("customers", "list", "--json").out == before


def test_without_prices_in_the_file_publishing_says_what_to_write(command: Command, tmp_path: Path) -> None:
    (tmp_path / "modelyard.yaml").write_text(FILE)
    said = command("prices", "publish")
    assert said.code == 2
    assert "per_million_input" in said.err


def test_events_come_from_stdin_and_a_json_array_is_told(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("customers", "add", "acme", "--plan", "starter")
    body = b"\xef\xbb\xbf" + lines([event("1", "acme", now_us())])[0].replace(b"\n", b"\r\n\r\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(body)))
    assert command("usage", "import", "-", "--json").json["result"]["counted"] == 1
    (tmp_path / "array.json").write_text(json.dumps([event("2", "acme")], indent=1))
    said = command("usage", "import", "array.json")
    assert (said.code, "jq -c" in said.err) == (2, True)


def test_what_is_set_aside_is_listed_and_decided(command: Command, tmp_path: Path) -> None:
    command("customers", "add", "acme", "--plan", "starter")
    said = command("usage", "import", write(tmp_path, event("1", "acme", now_us(), input_tokens=10**10)))
    assert "usage quarantine list" in said.err
    (one,) = command("usage", "quarantine", "list", "--json").json["result"]["events"]
    assert command("usage", "quarantine", "admit", str(one["seq"]), "--reason", "a batch").code == 0
    assert command("usage", "quarantine", "list", "--json").json["result"]["events"] == []
    assert "admitted" in command("usage", "quarantine", "list", "--decided").out
    assert command("usage", "--customer", "acme", "--json").json["result"]["input_tokens"] == 10**10


def test_an_export_is_a_new_file_or_lines_on_stdout(command: Command, tmp_path: Path) -> None:
    command("customers", "add", "acme", "--plan", "starter")
    command("usage", "import", write(tmp_path, event("1", "acme", now_us())))
    said = command("usage", "export", "--to", "out.jsonl", "--json").json["result"]
    assert said == {"events": 1, "file": "out.jsonl"}
    assert command("usage", "export").out == (tmp_path / "out.jsonl").read_text("utf-8")
    assert command("usage", "export", "--to", "out.jsonl").code == 2
    assert command("usage", "export", "--to", "nowhere/out.jsonl").code == 2
    assert sorted(path.name for path in tmp_path.iterdir() if "part" in path.name) == []


def test_the_verbs_of_money_speak_chinese(command: Command) -> None:
    command("customers", "add", "acme", "--plan", "starter")
    assert (
        "月费"
        in command(
            "invoice",
            "preview",
            "--customer",
            "acme",
            "--period",
            month_of(now_us(), "UTC").label,
            "--lang",
            "zh",
        ).out
    )


def test_an_invoice_without_a_period_is_of_the_month_of_its_cutoff(command: Command) -> None:
    command("customers", "add", "acme", "--plan", "starter", "--timezone", "Asia/Tokyo")
    asked = ("invoice", "preview", "--customer", "acme", "--json")
    told = command(*asked, "--cutoff", "2026-10-31T16:00:00Z").json["result"]
    assert told["period"] == "2026-11"  # it is the first already where the customer is
