"""A big customer: many events in, rated from the ledger, in flat memory."""

from __future__ import annotations

import resource
import time

import pytest
from sqlalchemy import insert
from tests.bill.shop import NOVEMBER, Shop, event, lines, proposed

from modelyard.bill.intake import take
from modelyard.bill.invoice import preview
from modelyard.records.tables.service import usage_event


def fill(shop: Shop, who: str, count: int) -> None:
    """Events straight into the table, as the gateway would have left them, some of them corrected."""
    step = (NOVEMBER.end_us - NOVEMBER.start_us) // count
    for start in range(0, count, 10_000):
        rows = [
            {
                "source": f"customer:{who}",
                "event_id": f"e{at}",
                "customer_id": who,
                "contract_id": f"{who}/1",
                "meter": "tokens",
                "occurred_us": NOVEMBER.start_us + at * step,
                "recorded_us": NOVEMBER.start_us + at * step,
                "input_tokens": 250,
                "cached_tokens": 50,
                "output_tokens": 30,
                "duration_us": 1,
                "quantity": 0,
                "plan_version_id": "starter@1",
                "release_id": f"r{at * 3 // count}",
                "kind": "void" if at % 1000 == 999 else "usage",
                "refers_to": f"e{at - 1}" if at % 1000 == 999 else None,
                "body_mac": "-",
            }
            for at in range(start, min(start + 10_000, count))
        ]
        with shop.ledger.write() as connection:
            connection.execute(insert(usage_event), rows)


def rated(shop: Shop, who: str, count: int) -> float:
    """Seconds that the preview takes; its sums are checked."""
    began = time.perf_counter()
    told = preview(shop.ledger.read, who, "2026-11", NOVEMBER.end_us)
    seconds = time.perf_counter() - began
    assert told["requests"] == count - 2 * (count // 1000)
    tokens = sum(line["quantity"] for line in told["lines"] if line["item"] != "monthly")
    assert tokens == told["requests"] * 280
    return seconds


def test_fifty_thousand_events_are_rated_in_seconds(shop: Shop) -> None:
    shop.publish(proposed())
    who = shop.customer("starter")
    fill(shop, who, 50_000)
    assert rated(shop, who, 50_000) < 15  # 1 s on an idle core; quadratic would be minutes


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_million_events_are_rated_in_flat_memory(shop: Shop) -> None:
    shop.publish(proposed())
    who = shop.customer("starter")
    fill(shop, who, 50_000)
    rated(shop, who, 50_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    big = shop.customer("starter")
    fill(shop, big, 1_000_000)
    assert rated(shop, big, 1_000_000) < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


@pytest.mark.soak
def test_five_thousand_events_a_second_come_in_durably(shop: Shop) -> None:
    shop.publish(proposed())
    big, who = shop.customer("starter"), shop.customer("starter")
    fill(shop, big, 200_000)  # the speed must not depend on what is there
    given = lines([event(f"e{at}", who, NOVEMBER.start_us + at) for at in range(50_000)])
    began = time.perf_counter()
    assert take(shop.ledger.write, given, clock=lambda: NOVEMBER.start_us + 10**12).counted == 50_000
    assert 50_000 / (time.perf_counter() - began) > 5_000
