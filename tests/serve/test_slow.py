"""`why slow` names the part that takes the time, from the log of requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from modelyard.records.ledger import Ledger
from modelyard.records.tables.service import request_time
from modelyard.serve.slow import ADVICE, slow

AT_US = 1_790_000_000_000_000


@pytest.fixture
def ledger(tmp_path: Path) -> Any:
    ledger = Ledger(tmp_path / "yard.db")
    yield ledger
    ledger.close()


def took(ledger: Ledger, id: str, at_us: int = AT_US, **times: int) -> None:
    row = {f"{name}_us": 10 for name in ADVICE} | {f"{name}_us": us for name, us in times.items()}
    given = {"status": 200, "release_id": None, "input_tokens": 1, "output_tokens": 1}
    with ledger.write() as connection:
        connection.execute(insert(request_time).values(request_id=id, at_us=at_us, **given, **row))


@pytest.mark.parametrize("part", sorted(ADVICE))
def test_the_longest_part_is_the_bottleneck(ledger: Ledger, part: str) -> None:
    for at in range(4):
        took(ledger, f"r{at}", **{part: 960})
    with ledger.read() as connection:
        found = slow(connection, 0)
    assert found.bottleneck == part
    assert (found.stages[0].per_mille, found.stages[0].median_us, found.requests) == (960, 960, 4)
    assert (found.median_us, found.p95_us) == (1000, 1000)
    assert sum(stage.per_mille for stage in found.stages) in range(995, 1001)


def test_only_the_asked_for_time_counts(ledger: Ledger) -> None:
    took(ledger, "old", AT_US - 1, queue=10**9)
    took(ledger, "new", decode=1000)
    with ledger.read() as connection:
        assert slow(connection, AT_US).bottleneck == "decode"


def test_without_requests_nothing_is_claimed(ledger: Ledger) -> None:
    with ledger.read() as connection:
        found = slow(connection, 0)
    assert found.bottleneck is None
    assert found.why


def test_percentiles_are_of_the_requests(ledger: Ledger) -> None:
    for at in range(1, 101):
        took(ledger, f"r{at}", decode=at * 1000, queue=0, prefill=0, database=0, client=0)
    with ledger.read() as connection:
        found = slow(connection, 0)
    assert (found.median_us, found.p95_us) == (50_000, 95_000)
