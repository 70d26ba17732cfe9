"""Rating against an oracle that was written from the specification, over random histories of a customer."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.bill.oracle import Version, expected, rounded
from tests.bill.shop import DAY, NOVEMBER, Shop, event, proposed

from modelyard.bill import prices
from modelyard.bill.invoice import preview
from modelyard.bill.money import digits
from modelyard.bill.report import usage

RATES = st.decimals(0, 2_000_000, places=6).map(str)  # dear, so that a few tokens make whole money
SMALL = st.integers(0, 12)


@st.composite
def plans(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "monthly": draw(st.sampled_from(["0", "29", "7.77"])),
        "included_tokens": draw(st.integers(0, 60)),
        "per_million_input": draw(RATES),
        "per_million_cached": draw(RATES),
        "per_million_output": draw(RATES),
    }


@st.composite
def histories(draw: st.DrawFn) -> dict[str, Any]:
    """Two plans, the first published anew later, a change of plan, a re-rate, and events with corrections."""
    times = st.integers(0, 50).map(lambda at: NOVEMBER.start_us - 20 * DAY + at * DAY // 2)
    count = draw(st.integers(0, 14))
    events = []
    for at in range(count):
        read = draw(SMALL)
        kind = draw(st.sampled_from(["usage"] * 4 + ["void", "replace"]))
        data: dict[str, Any] = {"kind": kind}
        if kind != "usage":
            data["refers_to"] = (
                f"e{draw(st.integers(0, count - 1).filter(lambda other, at=at: other != at))}"
                if count > 1
                else "nothing"
            )
        if kind != "void":
            data |= {
                "input_tokens": read,
                "cached_tokens": draw(st.integers(0, read)),
                "output_tokens": draw(SMALL),
            }
        events.append((f"e{at}", draw(times), data))
    return {
        "plans": [draw(plans()), draw(plans()), draw(plans())],
        "start": NOVEMBER.start_us - 20 * DAY,
        "second": draw(times),
        "change": draw(times),
        "rerate": draw(st.booleans()),
        "events": events,
        "order": draw(st.permutations(range(count))),
        "again": draw(st.lists(st.integers(0, max(count - 1, 0)), max_size=4)) if count else [],
        "timezone": draw(st.sampled_from(["UTC", "Asia/Shanghai", "America/New_York", "Pacific/Kiritimati"])),
        "currency": draw(st.sampled_from(["USD", "JPY", "KWD"])),
    }


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories())
def test_every_line_and_every_event_is_what_the_oracle_says(shop: Shop, history: dict[str, Any]) -> None:
    number = next(shop.number)
    one, two = f"one{number}", f"two{number}"
    first, again, other = history["plans"]
    currency, start = history["currency"], history["start"]
    known = shop.publish(proposed(currency, **{one: first, two: other}), start)
    who = shop.customer(one, start, currency, history["timezone"])
    changes = [(start, version(known[one].id, one, first))]
    steps = [(history["second"], "second"), (history["change"], "change")]
    for at_us, step in sorted(steps):
        if step == "second":
            made = shop.publish(proposed(currency, **{one: again}), at_us)[one]
            if changes[-1][1].plan == one and made.id != changes[-1][1].id:
                changes.append((at_us, version(made.id, one, again)))
        else:
            shop.change(who, two, at_us)
            changes.append((at_us, version(known[two].id, two, other)))
    in_place_of = {}
    if history["rerate"] and len({v.id for _, v in changes if v.plan == one}) == 2:
        wrong, right = (v for _, v in changes if v.plan == one)
        with shop.ledger.write() as connection:
            prices.rerate(connection, wrong.id, right.id, "a typo", start)
        in_place_of = {wrong.id: right}
    told = [event(id, who, at_us, **data) for id, at_us, data in history["events"]]
    sent = [told[at] for at in [*history["order"], *history["again"]]]
    now_us = NOVEMBER.start_us + 8 * DAY
    for part in (sent[: len(sent) // 2], sent[len(sent) // 2 :]):
        taken = shop.take(part, now_us)
        assert taken.accepted == taken.counted + taken.duplicates

    should = expected(told, start, dedupe(changes), in_place_of, history["timezone"], now_us)
    found = {}
    for period in ("2026-10", "2026-11", "2026-12"):
        shown = preview(shop.ledger.read, who, period, now_us)
        for line in shown["lines"]:
            if not line["item"].endswith(".included"):
                key = (period, line["price_version"], line["item"])
                found[key] = (line["quantity"], Fraction(line["list"]))
                assert Fraction(line["charged"]) == Fraction(rounded(found[key][1], digits(currency)))
            else:
                assert Fraction(line["charged"]) == 0
        assert Fraction(shown["total"]) == sum(Fraction(line["charged"]) for line in shown["lines"])
    assert found == should.charged
    events = usage(shop.ledger.read, who, None, now_us)["events"]
    assert {e["id"]: (Fraction(e["list"]), Fraction(e["charged"])) for e in events} == should.events


def version(id: str, plan: str, said: dict[str, Any]) -> Version:
    return Version(
        id,
        plan,
        said["monthly"],
        said["included_tokens"],
        said["per_million_input"],
        said["per_million_cached"],
        said["per_million_output"],
    )


def dedupe(changes: list[tuple[int, Version]]) -> list[tuple[int, Version]]:
    """Of changes at one moment the last holds."""
    return list({since: (since, version) for since, version in changes}.values())
