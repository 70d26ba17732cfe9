"""Keys, budgets, backups and `why slow` by the command line, in a yard of an earlier release."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.line.command import Command

from modelyard.records.yard import Yard
from modelyard.serve import keys

KEPT = Path(__file__).parent.parent / "yards" / "line"
PRICES = (
    "prices: {currency: USD, plans: {starter: {monthly: 29, included_tokens: 2000000, "
    "per_million_input: 0.30, per_million_output: 1.20}}}\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(KEPT, tmp_path / "project"))
    (folder / "yard").rename(folder / ".yard")
    file = folder / "modelyard.yaml"
    if "prices:" not in file.read_text():
        file.write_text(file.read_text() + PRICES)
    return folder


@pytest.fixture
def command(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(folder, monkeypatch, capsys)


def test_one_command_makes_customer_contract_prices_and_key(command: Command, folder: Path) -> None:
    said = command("keys", "create", "--customer", "acme", "--plan", "starter", "--json")
    assert set(said.json["result"]) == {"id", "key"}
    with Yard(folder / ".yard").ledger.read() as connection:
        found = keys.find(connection, said.json["result"]["key"])
    assert found is not None
    assert (found.id, found.customer_id, found.role) == (said.json["result"]["id"], "acme", "customer")
    again = command("keys", "create", "--customer", "acme", "--json")
    assert again.json["result"]["id"] != found.id
    assert len(command("keys", "list", "--json").json["result"]["keys"]) == 2
    assert len(command("customers", "list", "--json").json["result"]["customers"]) == 1


def test_a_secret_is_shown_once(command: Command) -> None:
    secret = command("keys", "create", "--customer", "acme", "--plan", "starter", "--json").json["result"][
        "key"
    ]
    for said in (
        command("keys", "list"),
        command("keys", "list", "--json"),
        command("audit", "verify", "--json"),
    ):
        assert secret not in said.out + said.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--customer", "acme"),
        ("--customer", "acme", "--plan", "nothing"),
        ("--plan", "starter"),
        ("--role", "customer"),
        ("--customer", "acme", "--plan", "starter", "--role", "auditor"),
    ],
)
def test_a_key_that_cannot_be_leaves_nothing_behind(command: Command, arguments: tuple[str, ...]) -> None:
    said = command("keys", "create", *arguments)
    assert said.code == 2
    assert "try: " in said.err
    assert command("keys", "list", "--json").json["result"]["keys"] == []
    assert command("customers", "list", "--json").json["result"]["customers"] == []


def test_keys_are_rotated_and_revoked(command: Command) -> None:
    made = command("keys", "create", "--role", "auditor", "--json").json["result"]
    new = command("keys", "rotate", made["id"], "--grace-hours", "1", "--json").json["result"]
    assert new["replaces"] == made["id"]
    assert command("keys", "revoke", new["id"], "--json").json["result"]["revoked"]
    states = {key["id"]: key["state"] for key in command("keys", "list", "--json").json["result"]["keys"]}
    assert states == {made["id"]: "valid", new["id"]: "revoked"}
    assert command("keys", "rotate", new["id"]).code == 2
    assert command("keys", "revoke", "key-0").code == 2


def test_budgets_are_set_changed_and_ended_in_exact_money(command: Command) -> None:
    command("keys", "create", "--customer", "acme", "--plan", "starter")
    first = command("budgets", "set", "--customer", "acme", "--money", "0.1", "--json").json["result"]
    assert (first["most"], first["currency"], first["hard"], first["per"]) == ("0.1", "USD", True, "month")
    second = command("budgets", "set", "--customer", "acme", "--money", "12.000000001", "--soft", "--json")
    assert (second.json["result"]["id"], second.json["result"]["most"]) == (first["id"], "12.000000001")
    tokens = command("budgets", "set", "--tokens", "1000", "--per", "day", "--alert", "50", "--json").json[
        "result"
    ]
    assert (tokens["scope"], tokens["most"], tokens["alerts"]) == ("project", 1000, [50])
    assert len(command("budgets", "list", "--json").json["result"]["budgets"]) == 2
    assert "customer acme" in command("budgets", "list").out
    assert command("budgets", "end", first["id"]).code == 0
    assert len(command("budgets", "list", "--json").json["result"]["budgets"]) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--money", "1", "--tokens", "1"),
        ("--money", "0.0000000001"),
        ("--money", "nan"),
        ("--money", "-1"),
        ("--money", "a lot"),
        ("--money", "99999999999"),
        ("--money", "1", "--currency", "XXX"),
        ("--money", "1", "--customer", "nobody"),
        ("--tokens", "1", "--customer", "a", "--key", "b"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(command: Command, arguments: tuple[str, ...]) -> None:
    assert command("budgets", "set", *arguments).code == 2
    assert command("budgets", "list", "--json").json["result"]["budgets"] == []


def test_a_restored_project_answers_and_knows_its_keys(
    command: Command, folder: Path, tmp_path: Path
) -> None:
    command("keys", "create", "--role", "owner")
    assert command("backup", str(tmp_path / "copy")).code == 0
    assert command("backup", str(tmp_path / "copy")).code == 2
    shutil.rmtree(folder / ".yard")
    assert command("restore", str(tmp_path / "copy")).code == 2  # the project's folder is not empty
    (tmp_path / "new").mkdir()
    assert command("restore", str(tmp_path / "copy"), "--project", str(tmp_path / "new")).code == 0
    there = ("--project", str(tmp_path / "new"), "--json")
    assert len(command("keys", "list", *there).json["result"]["keys"]) == 1
    assert command("audit", "verify", *there).json["ok"]
    assert command("try", "What does the anvil cost?", *there).json["result"]["tokens"]["input"] > 0


def test_why_slow_says_when_it_knows_nothing(command: Command) -> None:
    said = command("why", "slow", "--json").json["result"]
    assert (said["bottleneck"], said["requests"]) == (None, 0)
    assert "nothing is known" in command("why", "slow").out
