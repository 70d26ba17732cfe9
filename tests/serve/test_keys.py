"""Keys: the secret is shown once, and what opens the service ends when it is said to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.serve.till import START_US, Till

from modelyard.errors import ProjectError
from modelyard.records import audit
from modelyard.records.roles import ACTIONS, PERMISSIONS, ROLES, allowed
from modelyard.records.tables.line import audit as audit_table
from modelyard.records.tables.service import api_key
from modelyard.serve import keys, meter

HOUR_US = 3600 * 1_000_000


@pytest.fixture
def till(tmp_path: Path) -> Any:
    till = Till(tmp_path)
    till.customer()
    yield till
    till.ledger.close()


def test_a_secret_opens_its_key_and_stands_nowhere(till: Till) -> None:
    with till.ledger.write() as connection:
        made, secret = keys.create(connection, "acme", "customer", ["chat"], START_US, rpm=60)
        assert keys.find(connection, secret, START_US) == made
    assert len(secret) == 46
    assert secret.startswith("my-")
    assert made.requests_per_minute == 60
    assert (made.may("chat"), made.may("usage")) == (True, False)
    assert secret not in repr([till.rows(api_key), till.rows(audit_table), made])
    assert secret.encode() not in till.ledger.path.read_bytes()


@pytest.mark.parametrize(
    "secret", ["", "my-", "my-" + "x" * 43, "sk-" + "x" * 43, "my-" + "é" * 43, "x" * 10**6]
)
def test_a_wrong_secret_opens_nothing(till: Till, secret: str) -> None:
    with till.ledger.read() as connection:
        assert keys.find(connection, secret) is None


def test_a_key_ends_at_its_time(till: Till) -> None:
    with till.ledger.write() as connection:
        _, secret = keys.create(connection, "acme", "customer", [], START_US, expires_us=START_US + 10)
        assert keys.find(connection, secret, START_US + 9) is not None
        assert keys.find(connection, secret, START_US + 10) is None


def test_a_revoked_key_opens_nothing_and_revoking_again_changes_nothing(till: Till) -> None:
    with till.ledger.write() as connection:
        made, secret = keys.create(connection, "acme", "customer", [], START_US)
        once = keys.revoke(connection, made.id, START_US + 1)
        assert keys.revoke(connection, made.prefix, START_US + 2) == once
        assert keys.find(connection, secret, START_US) is None
        with pytest.raises(ProjectError, match="is over"):
            keys.rotate(connection, made.id, START_US + 3)


def test_a_rotated_key_opens_through_its_grace_only(till: Till) -> None:
    with till.ledger.write() as connection:
        old, secret = keys.create(
            connection, "acme", "customer", ["chat"], START_US, rpm=1, tpm=2, concurrency=3
        )
        new, fresh = keys.rotate(connection, old.id, START_US, HOUR_US)
        assert keys.find(connection, secret, START_US + HOUR_US - 1) is not None
        assert keys.find(connection, secret, START_US + HOUR_US) is None
        assert keys.find(connection, fresh, START_US + HOUR_US) == new
    assert new.replaces == old.id
    same = ("customer_id", "role", "scopes", "requests_per_minute", "tokens_per_minute", "concurrency")
    assert [getattr(new, name) for name in same] == [getattr(old, name) for name in same]


def test_rotating_never_makes_the_old_key_last_longer(till: Till) -> None:
    with till.ledger.write() as connection:
        old, _ = keys.create(connection, "acme", "customer", [], START_US, expires_us=START_US + 5)
        keys.rotate(connection, old.id, START_US, HOUR_US)
        assert keys.get(connection, old.id).expires_us == START_US + 5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"customer_id": "nobody"}, "no customer"),
        ({"role": "king"}, "no role"),
        ({"role": "auditor"}, "belongs to no customer"),
        ({"customer_id": None}, "belongs to a customer"),
        ({"scopes": ["everything"]}, "no scope"),
        ({"rpm": 0}, "from 1 on"),
        ({"concurrency": -1}, "from 1 on"),
        ({"tpm": 2**40}, "from 1 on"),
        ({"expires_us": START_US}, "over already"),
    ],
)
def test_a_key_that_cannot_be_is_not_made(till: Till, changes: dict[str, Any], said: str) -> None:
    given = {"customer_id": "acme", "role": "customer", "scopes": [], "at_us": START_US, **changes}
    before = till.rows(api_key)
    with pytest.raises(ProjectError, match=said), till.ledger.write() as connection:
        keys.create(connection, **given)
    assert till.rows(api_key) == before


def test_everything_that_is_done_to_keys_is_in_the_audit_log(till: Till) -> None:
    with till.ledger.write() as connection:
        made, _ = keys.create(connection, None, "owner", [], START_US)
        new, _ = keys.rotate(connection, made.id, START_US)
        keys.revoke(connection, new.id, START_US)
        audit.verify(connection)
    said = [(row["action"], row["subject"]) for row in till.rows(audit_table)][-3:]
    assert said == [("key.created", made.id), ("key.rotated", new.id), ("key.revoked", new.id)]


def test_keys_are_listed_by_customer(till: Till) -> None:
    other = till.customer("bolt")
    with till.ledger.read() as connection:
        assert [key.id for key in keys.listed(connection, "bolt")] == [other]
        assert len(keys.listed(connection)) == 2


def test_the_table_of_permissions_says_who_may_what() -> None:
    assert set(PERMISSIONS) == set(ROLES)
    assert all(allowed("owner", action) for action in ACTIONS)
    assert not any(allowed("king", action) for action in ACTIONS)
    assert [action for action in ACTIONS if allowed("customer", action)] == ["ask", "usage.own"]
    # Nobody but the owner decides both about money and about releases, and an auditor decides nothing.
    for role in ROLES:
        assert role == "owner" or not (allowed(role, "prices") and allowed(role, "release"))
    assert not any(allowed("auditor", action) for action in ("ask", "keys", "prices", "release", "label"))


def test_bodies_are_compared_by_a_key_of_the_yard(till: Till, tmp_path: Path) -> None:
    with till.ledger.write() as connection:
        key = meter.body_secret(connection)
        assert meter.body_secret(connection) == key
    other = Till(tmp_path / "other")
    with other.ledger.write() as connection:
        foreign = meter.body_secret(connection)
    other.ledger.close()
    assert meter.body_mac(key, b"hello") == meter.body_mac(key, b"hello")
    assert (
        len(
            {meter.body_mac(key, b"hello"), meter.body_mac(key, b"hello "), meter.body_mac(foreign, b"hello")}
        )
        == 3
    )
