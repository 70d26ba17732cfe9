"""Rating as a pure function: cuts, order, places, memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bill.shop import DAY, NOVEMBER

from modelyard.bill import PlanVersion, Rates, UsageEvent, rate
from modelyard.bill.contracts import ContractVersion, Term
from modelyard.bill.money import to_minor
from modelyard.bill.rating import Rated, RatedEvent
from modelyard.errors import RecordError

START = NOVEMBER.start_us
END = NOVEMBER.end_us


def version(id: str = "p@1", included: int = 0, monthly: str = "29", **said: str) -> PlanVersion:
    prices = {"input": "0.30", "cached": "0.10", "output": "1.20", **said}
    rates = Rates(id, "USD", *(Decimal(prices[name]) for name in ("input", "cached", "output")))
    return PlanVersion(id, id.partition("@")[0], 1, "USD", Decimal(monthly), included, rates, START, id)


def contract(
    *terms: tuple[int, PlanVersion], end_us: int | None = None, zone: str = "UTC"
) -> ContractVersion:
    ends = [since for since, _ in terms[1:]] + [end_us]
    return ContractVersion(
        "acme/1",
        "acme",
        "USD",
        zone,
        terms[0][0],
        end_us,
        tuple(Term(since, until, held) for (since, held), until in zip(terms, ends, strict=True)),
        {held.id: held for _, held in terms},
    )


def used(
    id: str,
    at_us: int,
    read: int,
    cached: int,
    written: int,
    *,
    recorded_us: int = 0,
    release: str | None = "r1",
) -> UsageEvent:
    return UsageEvent("s", id, at_us, recorded_us, read, cached, written, "p@1", release)


def charged(rated: Rated) -> dict[str, int]:
    """Minor units by month, of all lines."""
    return {month.period.label: month.total for month in rated.months}


def nets(rated: Rated) -> Counter[tuple[str, str]]:
    return Counter({(m.period.label, line.item): line.net for m in rated.months for line in m.lines})


@st.composite
def events(draw: st.DrawFn) -> list[UsageEvent]:
    """Of October to December, in order; each recorded at some moment after it occurred."""
    found = []
    for at in range(draw(st.integers(0, 25))):
        occurred = START + draw(st.integers(-20 * DAY, 40 * DAY))
        read = draw(st.integers(0, 10**7))
        found.append(
            used(
                f"e{at:02d}",
                occurred,
                read,
                draw(st.integers(0, read)),
                draw(st.integers(0, 10**7)),
                recorded_us=occurred + draw(st.integers(0, 20 * DAY)),
                release=draw(st.sampled_from(["r1", "r2", None])),
            )
        )
    return sorted(found, key=lambda event: (event.occurred_us, event.source, event.event_id))


CUTS = st.lists(st.integers(START - 20 * DAY, START + 90 * DAY), min_size=1, max_size=6).map(sorted)


@given(events(), CUTS, st.integers(0, 10**8))
def test_billing_in_cuts_comes_to_the_same_as_billing_once(
    given: list[UsageEvent], cuts: list[int], included: int
) -> None:
    terms = contract((START - 20 * DAY, version(included=included)))
    booked: Counter[tuple[str, str]] = Counter()
    for cut in [*cuts, START + 90 * DAY]:
        # A cut knows only what was recorded by then: rating everything to the cut must not know more.
        rated = rate(terms, [event for event in given if event.recorded_us <= cut], cut)
        assert rated == rate(terms, given, cut)
        now = nets(rated)
        for key in booked.keys() | now.keys():
            # Below nought where a late event took quota that a later one had: that line is given back.
            booked[key] += now[key] - booked[key]
    assert +booked == +nets(rate(terms, given, START + 90 * DAY))


@given(events(), st.integers(0, 10**8))
def test_overage_is_what_is_beyond_the_quota_and_never_below_nought(
    given: list[UsageEvent], included: int
) -> None:
    rated = rate(contract((START - 20 * DAY, version(included=included))), given, END + 90 * DAY)
    assert [month.period.label for month in rated.months][:3] == ["2026-10", "2026-11", "2026-12"]
    for month in rated.months:
        tokens = month.input_tokens + month.output_tokens
        over = sum(line.quantity for line in month.lines if line.item in ("input", "cached", "output"))
        covered = sum(line.quantity for line in month.lines if line.item.endswith(".included"))
        assert over == max(0, tokens - included)
        assert over + covered == tokens
        assert all(line.amount >= 0 and line.net == to_minor(line.amount, "USD") for line in month.lines)
        fees = [line.amount for line in month.lines if line.item == "monthly"]
        assert fees == [29]  # unused quota is worth nothing, and a used one costs nothing more


@given(events(), st.integers(0, 10**8))
def test_the_events_add_up_to_the_lines_and_to_each_release(given: list[UsageEvent], included: int) -> None:
    each: list[RatedEvent] = []
    rated = rate(contract((START - 20 * DAY, version(included=included))), given, END + 90 * DAY, each.append)
    lines = [line for month in rated.months for line in month.lines if line.item != "monthly"]
    assert sum(one.charged for one in each) == sum(line.amount for line in lines)
    assert sum(one.list_price for one in each) == sum(line.list_price for line in lines)
    for line in lines:
        assert sum(part.quantity for part in line.parts) == line.quantity
        assert line.list_price == line.quantity * (line.list_price / line.quantity)
        if not line.item.endswith(".included"):
            assert (
                Decimal(line.quantity) * line.unit_price
                == Decimal(line.amount.numerator) / line.amount.denominator
            )
    by_release = {
        r: sum(e.input_tokens + e.output_tokens for e in given if e.release == r) for r in ("r1", "r2", None)
    }
    told = {r: sum(p.quantity for line in lines for p in line.parts if p.release == r) for r in by_release}
    assert told == by_release


def test_the_quota_goes_to_input_then_cached_then_output_in_the_order_of_time() -> None:
    each: list[RatedEvent] = []
    rated = rate(
        contract((START, version(included=10, monthly="0"))),
        [used("a", START, 8, 3, 1), used("b", START + 1, 2, 1, 4)],
        END,
        each.append,
    )
    lines = {line.item: line.quantity for line in rated.months[0].lines}
    # a takes 5 + 3 + 1; b takes the last one with its uncached input.
    assert lines == {
        "input.included": 6,
        "cached.included": 3,
        "output.included": 1,
        "cached": 1,
        "output": 4,
    }
    assert [str(one.charged) for one in each] == ["0", "49/10000000"]


def test_a_month_that_began_is_charged_in_full_and_one_that_did_not_is_not() -> None:
    terms = contract((START + 20 * DAY, version()), end_us=END + 5 * DAY)
    assert charged(rate(terms, [], START + 20 * DAY - 1)) == {}
    assert charged(rate(terms, [], START + 20 * DAY)) == {"2026-11": 2900}
    assert charged(rate(terms, [], END - 1)) == {"2026-11": 2900}
    assert charged(rate(terms, [], END)) == {"2026-11": 2900, "2026-12": 2900}
    assert charged(rate(terms, [], END + 300 * DAY)) == {"2026-11": 2900, "2026-12": 2900}


def test_each_plan_in_force_in_a_month_is_charged_and_gives_its_quota_to_its_own_time() -> None:
    one, two = version("p@1", included=5), version("q@1", included=100, monthly="99")
    terms = contract((START, one), (START + DAY, two), (START + 2 * DAY, one))
    given = [
        used("a", START, 4, 0, 0),
        used("b", START + DAY, 50, 0, 0)._replace(plan_version="q@1"),
        used("c", START + 2 * DAY, 3, 0, 0),
    ]
    rated = rate(terms, given, END - 1)
    found = [(line.version.id, line.item, line.quantity) for line in rated.months[0].lines]
    assert found == [
        ("p@1", "monthly", 1),
        ("q@1", "monthly", 1),
        ("p@1", "input.included", 5),
        ("p@1", "input", 2),
        ("q@1", "input.included", 50),
    ]


def test_an_event_outside_its_contract_is_charged_without_a_quota() -> None:
    rated = rate(contract((START, version(included=100))), [used("a", START - 1, 10, 0, 0)], END - 1)
    assert [(m.period.label, [line.item for line in m.lines]) for m in rated.months] == [
        ("2026-10", ["input"]),
        ("2026-11", ["monthly"]),
    ]


def test_withdrawn_and_voiding_events_do_not_count() -> None:
    given = [
        used("a", START, 1, 0, 0)._replace(withdrawn=True),
        used("b", START, 1, 0, 0)._replace(kind="void"),
        used("c", START, 1, 0, 0, recorded_us=END + 1),
        used("d", START, 1, 0, 0)._replace(kind="replace"),
    ]
    assert rate(contract((START, version())), given, END).months[0].requests == 1


def test_events_out_of_order_and_of_no_price_are_refused() -> None:
    terms = contract((START, version()))
    with pytest.raises(ValueError, match="comes after"):
        rate(terms, [used("b", START, 1, 0, 0), used("a", START, 1, 0, 0)], END)
    with pytest.raises(ValueError, match="comes after"):
        rate(terms, [used("a", START, 1, 0, 0), used("a", START, 1, 0, 0)], END)
    with pytest.raises(RecordError, match="no version"):
        rate(terms, [used("a", START, 1, 0, 0)._replace(plan_version="q@7")], END)


def test_a_month_is_one_of_the_contracts_zone() -> None:
    event = used("a", END - 1, 10**6, 0, 0)
    for zone, label in (("UTC", "2026-11"), ("Asia/Shanghai", "2026-12"), ("America/New_York", "2026-11")):
        rated = rate(contract((START, version()), zone=zone), [event], END)
        assert [m.period.label for m in rated.months if m.requests] == [label]


ELSEWHERE = """
from tests.bill.test_rating import START, END, contract, used, version
from modelyard.bill import rate
given = [
    used(f"e{at:03d}", START + at * 7_777_777_777, 1000 + at, at, 77, release=f"r{at % 3}")
    for at in range(300)
]
print(rate(contract((START, version(included=9999)), zone="Asia/Shanghai"), given, END))
"""


def test_it_depends_on_nothing_but_its_arguments() -> None:
    def run(**place: str) -> bytes:
        root = Path(__file__).parents[2]
        settings = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{root / 'src'}:{root}", **place}
        return subprocess.run(
            [sys.executable, "-c", ELSEWHERE], env=settings, capture_output=True, check=True
        ).stdout

    here = run(TZ="UTC", LC_ALL="C.UTF-8", PYTHONHASHSEED="1")
    assert here == run(TZ="Asia/Tokyo", LC_ALL="de_DE.UTF-8", PYTHONHASHSEED="2")
    assert b"2026-12" in here


def many(count: int) -> Iterator[UsageEvent]:
    step = (END - START) // count
    return (used(f"e{at}", START + at * step, 250, 50, 30) for at in range(count))


def peak_bytes(count: int) -> int:
    tracemalloc.start()
    rated = rate(contract((START, version(included=1000))), many(count), END)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rated.months[0].requests == count
    return peak


def test_memory_does_not_grow_with_the_events() -> None:
    peak_bytes(100)  # caches
    assert peak_bytes(50_000) < peak_bytes(500) + 50_000
