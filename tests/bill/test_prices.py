"""Versions of prices: immutable, followed by contracts, set right by another."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from tests.bill.shop import DAY, NOVEMBER, NOW, STARTER, Shop, event, proposed

from modelyard.bill import contracts, customers, prices
from modelyard.bill.invoice import preview
from modelyard.bill.report import usage
from modelyard.errors import ProjectError
from modelyard.records import audit

START = NOVEMBER.start_us


def plan(**changed: Any) -> dict[str, Any]:
    return {**STARTER, **changed}


def test_the_same_prices_are_the_same_version_however_they_are_spelled(shop: Shop) -> None:
    first = shop.publish(proposed(a=plan()))
    assert first["a"].id == "a@1"
    assert shop.publish(proposed(a=plan(per_million_input="0.3000", per_million_cached="0.30"))) == first
    assert first["a"].rates.cached == Decimal("0.30")  # the input price, since no other was given


def test_changed_prices_are_the_next_version_and_the_old_one_stays(shop: Shop) -> None:
    shop.publish(proposed(b=plan()))
    for changed in ({"monthly": "30"}, {"included_tokens": 1}, {"per_million_cached": "0.1"}):
        shop.publish(proposed(b=plan(**changed)))
    with shop.ledger.read() as connection:
        found = prices.versions(connection, "b")
        assert [(v.seq, str(v.monthly), v.included_tokens) for v in found.values()] == [
            (1, "29", 2_000_000),
            (2, "30", 2_000_000),
            (3, "29", 1),
            (4, "29", 2_000_000),
        ]
        assert prices.current(connection, "b").id == "b@4"
        assert prices.get(connection, "b@1").monthly == 29
    assert shop.publish(proposed(b=plan()))["b"].id == "b@5"  # back again is a decision of its own


def test_an_open_contract_follows_its_plan_and_no_other(shop: Shop) -> None:
    shop.publish(proposed(c=plan(), d=plan()))
    mine, other = shop.customer("c"), shop.customer("d")
    shop.publish(proposed(c=plan(per_million_output="2"), d=plan()), START + DAY)
    with shop.ledger.read() as connection:
        said = {
            (who, at): prices.rates_of(connection, f"{who}/1", at).plan_version
            for who in (mine, other)
            for at in (START, START + DAY - 1, START + DAY)
        }
        assert list(said.values()) == ["c@1", "c@1", "c@2", "d@1", "d@1", "d@1"]
        with pytest.raises(ProjectError, match="not in force"):
            prices.rates_of(connection, f"{mine}/1", START - 1)


def test_starting_a_plan_again_changes_nothing_and_another_plan_changes_the_contract(shop: Shop) -> None:
    shop.publish(proposed(e=plan(), f=plan(monthly="99")))
    who = shop.customer("e")
    shop.change(who, "e", START + 1)
    assert shop.rows("SELECT count(*) FROM contract_change WHERE contract_id = ?", f"{who}/1")[0][0] == 0
    shop.change(who, "f", START + 2)
    with shop.ledger.read() as connection:
        assert contracts.open_contract(connection, who, START + 2) == f"{who}/1"
        assert prices.rates_of(connection, f"{who}/1", START + 2).plan_version == "f@1"
        assert contracts.open_contract(connection, "nobody", START) is None


def test_a_plan_keeps_its_currency_and_a_customer_pays_in_one(shop: Shop) -> None:
    shop.publish(proposed(g=plan()))
    with pytest.raises(ProjectError, match="cannot become one in EUR"):
        shop.publish(proposed("EUR", g=plan()))
    with pytest.raises(ProjectError, match="pays in EUR"):
        shop.customer("g", currency="EUR")
    with shop.ledger.write() as connection:
        assert customers.ensure(connection, "kept", "USD", START) == customers.ensure(
            connection, "kept", "USD", 0
        )
        with pytest.raises(ProjectError, match="pays in USD"):
            customers.ensure(connection, "kept", "EUR", START)


@pytest.mark.parametrize("id", ["", "a b", "a/b", "-a", "x" * 65, "ключ", "a\n"])
def test_an_id_of_a_customer_is_plain(shop: Shop, id: str) -> None:
    with shop.ledger.write() as connection, pytest.raises(ProjectError, match="no id of a customer"):
        customers.add(connection, id, "USD", START)


def test_a_typo_is_set_right_for_past_and_future(shop: Shop) -> None:
    shop.publish(proposed(h=plan(monthly="290", included_tokens=0, per_million_output="120")))
    who = shop.customer("h")
    assert shop.take([event("1", who, output_tokens=1_000_000, input_tokens=0)]).counted == 1
    assert preview(shop.ledger.read, who, "2026-11", NOW)["total"] == "410.00"
    right = shop.publish(proposed(h=plan(included_tokens=0)), NOW + 1)["h"].id
    with shop.ledger.write() as connection:
        prices.rerate(connection, "h@1", right, "a point was forgotten", NOW + 2)
        prices.rerate(connection, "h@1", right, "a point was forgotten", NOW + 3)
    assert preview(shop.ledger.read, who, "2026-11", NOW + 2)["total"] == "30.20"
    assert usage(shop.ledger.read, who, None, NOW + 2)["events"][0]["price_version"] == right
    # What was said of an earlier moment stays true of it.
    assert preview(shop.ledger.read, who, "2026-11", NOW)["total"] == "410.00"


def test_chains_of_re_rates_are_followed_and_rings_refused(shop: Shop) -> None:
    for monthly in ("1", "2", "3"):
        shop.publish(proposed(i=plan(monthly=monthly), j=plan()))
    with shop.ledger.write() as connection:
        prices.rerate(connection, "i@1", "i@2", "x", NOW)
        prices.rerate(connection, "i@2", "i@3", "x", NOW)
        for wrong, right, match in (
            ("i@3", "i@1", "itself charged by"),
            ("i@3", "i@3", "itself charged by"),
            ("i@1", "i@3", "charged by i@2 already"),
            ("i@3", "j@1", "not versions of one plan"),
            ("i@9", "i@1", "no version"),
            ("nothing", "i@1", "no version"),
        ):
            with pytest.raises(ProjectError, match=match):
                prices.rerate(connection, wrong, right, "x", NOW)
        with pytest.raises(ProjectError, match="reason"):
            prices.rerate(connection, "i@3", "i@2", "  ", NOW)
    who = shop.customer("i")
    with shop.ledger.read() as connection:
        assert contracts.load(connection, f"{who}/1", NOW).versions["i@1"].id == "i@3"


def test_prices_contracts_and_re_rates_are_in_the_audit_log_without_words_of_people(shop: Shop) -> None:
    shop.publish(proposed(k=plan()))
    shop.publish(proposed(k=plan(monthly="1")))
    with shop.ledger.write() as connection:
        prices.rerate(connection, "k@1", "k@2", "Mrs Miller complained", NOW)
        audit.verify(connection)
    said = shop.rows("SELECT action, body FROM audit WHERE subject LIKE 'k@%'")
    assert [action for action, _ in said] == ["prices.published", "prices.published", "prices.rerated"]
    assert "Miller" not in "".join(body for _, body in said)
    assert shop.rows("SELECT reason FROM rerate WHERE wrong_id = 'k@1'")[0][0] == "Mrs Miller complained"


def spend(shop: Shop, who: str, version: str, tokens: list[int], budget_id: str, spent: int) -> None:
    """What the gateway leaves of settled requests under a budget."""
    with shop.ledger.write() as connection:

        def put(table: str, **values: Any) -> None:
            names, places = ", ".join(values), ", ".join("?" for _ in values)
            connection.exec_driver_sql(
                f"INSERT INTO {table} ({names}) VALUES ({places})", tuple(values.values())
            )

        put("api_key", id=f"k-{who}", role="customer", scopes="[]", prefix="my-", hash=who, created_us=START)
        kind = {"scope": "customer", "scope_id": who, "span": "month", "unit": "money", "currency": "USD"}
        put("budget", id=budget_id, **kind, most=10**9, hard=True, alerts="[]", created_us=START)
        put("budget_window", budget_id=budget_id, start_us=START, spent=spent, held=5)
        ours = {"source": f"customer:{who}", "customer_id": who, "key_id": f"k-{who}", "body_mac": "-"}
        ours |= {"contract_id": f"{who}/1", "plan_version_id": version}
        for at, written in enumerate(tokens):
            id = f"{who}-{at}"
            both = {**ours, "event_id": id, "input_tokens": 0, "output_tokens": written}
            put("hold", **both, request_id=id, amount=0, created_us=START, lease_us=START, state="settled")
            put("hold_budget", request_id=id, budget_id=budget_id, start_us=START, amount=0)
            times = {"occurred_us": START, "recorded_us": START, "duration_us": 0}
            put("usage_event", **both, **times, meter="tokens", cached_tokens=0, quantity=0, kind="usage")


def test_a_typo_set_right_frees_the_budgets_that_it_filled(shop: Shop) -> None:
    shop.publish(proposed(l=plan(per_million_output="1200000")))  # a dollar and twenty cents a token
    shop.publish(proposed(l=plan(per_million_output="1.2000001")))
    who, other = shop.customer("l"), shop.customer("l")
    spend(shop, who, "l@1", [1, 2, 3], "b1", 7_200_000_000)
    spend(shop, other, "l@2", [9], "b2", 4_242)  # not of the wrong version: left as it is
    with shop.ledger.write() as connection:
        assert prices.rerate(connection, "l@1", "l@2", "no point", NOW) == 1
        assert prices.rerate(connection, "l@1", "l@2", "no point", NOW) == 0
    found = shop.rows(
        "SELECT spent, held FROM budget_window WHERE budget_id IN ('b1', 'b2') ORDER BY budget_id"
    )
    # Each request rounded up to a nano-unit: 1200.0001, 2400.0002 and 3600.0003.
    assert [tuple(row) for row in found] == [(1201 + 2401 + 3601, 5), (4_242, 5)]
