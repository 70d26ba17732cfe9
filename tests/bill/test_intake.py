"""Events in and out: each counted once, conflicts refused, the strange set aside, nothing lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection
from tests.bill.shop import DAY, NOVEMBER, NOW, Shop, event, lines, proposed

from modelyard.bill import export, quarantine
from modelyard.bill.cloudevents import Incoming, Unreadable, line, parse
from modelyard.bill.intake import CHUNK, take
from modelyard.bill.invoice import preview
from modelyard.bill.report import usage
from modelyard.errors import ProjectError
from modelyard.records import audit

START = NOVEMBER.start_us


@pytest.fixture(scope="module", autouse=True)
def _published(shop: Shop) -> None:
    shop.publish(proposed())


def totals(shop: Shop, who: str) -> Any:
    return usage(shop.ledger.read, who, None, NOW), preview(shop.ledger.read, who, "2026-11", NOW)


def waiting(shop: Shop, who: str) -> list[quarantine.Aside]:
    with shop.ledger.read() as connection:
        found = quarantine.listed(connection)
    return [one for one in found if one.source == f"erp-of-{who}"]


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Events with corrections, and how they come: in any order, some again, in pieces."""
    count = draw(st.integers(1, 8))
    found = []
    for at in range(count):
        data: dict[str, Any] = {
            "input_tokens": draw(st.integers(0, 10**7)),
            "output_tokens": draw(st.integers(0, 9)),
        }
        kind = draw(st.sampled_from(["usage", "usage", "void", "replace"]))
        if kind != "usage":
            data |= {"kind": kind, "refers_to": f"e{(at + draw(st.integers(1, 7))) % 8 if count > 1 else 9}"}
            if data["refers_to"] == f"e{at}":
                data["refers_to"] = "e9"
        found.append({"id": f"e{at}", "at": START + draw(st.integers(0, 20)) * DAY, "data": data})
    order = draw(st.permutations(found))
    return found, [*order, *draw(st.lists(st.sampled_from(found), max_size=5))]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrivals(), st.integers(0, 13))
def test_neither_the_order_nor_repetition_of_arrivals_changes_a_total(
    shop: Shop, arrived: tuple[list[dict[str, Any]], list[dict[str, Any]]], split: int
) -> None:
    one, other = shop.customer("starter"), shop.customer("starter")
    plain, mixed = arrived

    def of(who: str, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [event(e["id"], who, e["at"], **e["data"]) for e in events]

    shop.take(of(one, plain))
    counted = 0
    for part in (mixed[:split], mixed[split:], plain):
        taken = shop.take(of(other, part))
        assert taken.accepted == taken.counted + taken.duplicates == len(part)
        counted += taken.counted
    assert counted == len(plain)
    said = [json.dumps(totals(shop, who)).replace(who, "x") for who in (one, other)]
    assert said[0] == said[1]


WHATEVER = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def strange(draw: st.DrawFn) -> bytes:
    """A line that is nearly an event, or nothing of the kind."""
    one = event(f"s{draw(st.integers(0, 5))}", "c0", START + draw(st.integers(-60, 60)) * DAY)
    for _ in range(draw(st.integers(0, 3))):
        into = draw(st.sampled_from([one, one["data"]]))
        into[draw(st.sampled_from([*one, *one["data"], "kind", "refers_to", "cached_tokens", "x"]))] = draw(
            WHATEVER
        )
        if not isinstance(one.get("data"), dict):
            break
    raw = json.dumps(one).encode()
    if draw(st.booleans()):
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.binary(max_size=4)) + raw[at:]
    return raw.replace(b"\n", b" ") + b"\n"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(strange(), max_size=12))
def test_every_line_is_counted_known_refused_or_set_aside_and_none_breaks_the_import(
    shop: Shop, given: list[bytes]
) -> None:
    if not shop.rows("SELECT 1 FROM customer WHERE id = 'c0'"):
        shop.customer("starter")

    def rows() -> int:
        tables = ("usage_event", "event_quarantine")
        return sum(shop.rows(f"SELECT count(*) FROM {table}")[0][0] for table in tables)

    before = rows()
    taken = take(shop.ledger.write, given, clock=lambda: NOW)
    assert taken.accepted == len([raw for raw in given if raw.strip()])
    assert taken.accepted == taken.counted + taken.duplicates + taken.conflicts + taken.quarantined
    assert rows() - before == taken.counted + taken.quarantined
    again = take(shop.ledger.write, given, clock=lambda: NOW)
    assert (again.counted, again.quarantined, again.conflicts) == (0, 0, taken.conflicts)


def test_the_same_id_with_another_body_is_a_conflict_and_changes_nothing(shop: Shop) -> None:
    who = shop.customer("starter")
    shop.take([event("1", who)])
    before = totals(shop, who)
    for changed in (
        {"input_tokens": 11},
        {"cached_tokens": 1},
        {"output_tokens": 6},
        {"release": "r"},
        {"kind": "void", "refers_to": "2"},
    ):
        taken = shop.take([event("1", who, **changed)] * 2)
        assert (taken.conflicts, taken.counted, taken.quarantined) == (2, 0, 0)
    assert shop.take([event("1", who, START)]).conflicts == 1
    assert totals(shop, who) == before
    kept = shop.rows("SELECT count(*) FROM event_conflict WHERE source = ?", f"erp-of-{who}")[0][0]
    assert kept == 6  # each other body once
    assert shop.take([event("1", who)]).duplicates == 1


def test_what_cannot_be_counted_is_set_aside_with_the_reason(shop: Shop) -> None:
    who = shop.customer("starter", NOW - 40 * DAY)
    late = shop.customer("starter", NOW - DAY)
    given = {
        "older than 35 days": event("old", who, NOW - 35 * DAY - 1),
        "more than 5 minutes in the future": event("early", who, NOW + 300_000_001),
        "input_tokens is negative": event("neg", who, input_tokens=-1),
        "input_tokens is absurd: more than 1000000000": event("big", who, input_tokens=10**9 + 1),
        "output_tokens is absurd: it does not fit 64 bits": event("huge", who, output_tokens=2**63),
        "output_tokens is missing or no whole number": event("float", who, output_tokens=1.0),
        "input_tokens is missing or no whole number": event("bool", who, input_tokens=True),
        "cached_tokens is more than input_tokens, which it is a part of": event("hit", who, cached_tokens=11),
        "the customer is not known": {**event("who", who), "subject": f"not-{who}"},
        "the customer had no contract then": event("before", late, NOW - 2 * DAY),
        "refers_to is the event itself": event("self", who, kind="void", refers_to="self"),
        "refers_to is missing or no text": event("void", who, kind="void"),
        "data has a field that is not known: 'prompt'": event("more", who, prompt="what is it?"),
        "time is no RFC 3339 time with a zone": {**event("naive", who), "time": "2026-11-24T00:00:00"},
        "time is no time of any calendar": {**event("leap", who), "time": "2026-02-30T00:00:00Z"},
        "type is not com.modelyard.usage": {**event("type", who), "type": "com.other"},
        'specversion is not "1.0"': {**event("spec", who), "specversion": "0.3"},
        "data is no object": {**event("data", who), "data": None},
        "meter is not tokens": event("meter", who, meter="gpu_hours"),
    }
    taken = shop.take(given.values())
    assert (taken.quarantined, taken.counted) == (len(given), 0)
    found = {one.why: one.event_id for one in waiting(shop, who) + waiting(shop, late)}
    assert found == {why: one["id"] for why, one in given.items()}
    on_the_edge = [event("a", who, NOW - 35 * DAY), event("b", who, NOW + 300_000_000)]
    assert shop.take([*on_the_edge, event("c", who, input_tokens=10**9)]).counted == 3


def test_a_line_that_is_no_event_at_all_is_set_aside_by_its_digest(shop: Shop) -> None:
    given = [
        b"\xff\xfe",
        b"{",
        b"[1]",
        b'"x"',
        b"[" * 60_000,
        b'{"id": NaN}',
        b'{"id":"1","id":"1"}',
        b'{"a":"' + b"x" * 70_000 + b'"}',
        b'{"id":"\\ud800","source":"s","specversion":"1.0"}',
        b'{"id":"a\\u0000b","source":"s","specversion":"1.0"}',
        b'{"id":"1' + b"0" * 5000 + b'"}',
        b'{"id":' + b"1" * 5000 + b"}",
    ]
    assert take(shop.ledger.write, given, clock=lambda: NOW).quarantined == len(given)
    assert take(shop.ledger.write, given, clock=lambda: NOW).duplicates == len(given)


def test_words_in_fields_that_are_not_ours_are_stored_nowhere(shop: Shop) -> None:
    who = shop.customer("starter")
    planted = "zebra-quartz-violin"
    given = [
        event("p1", who, prompt=planted),
        {**event("p2", who), "comment": planted, "specversion": "9"},
        {**event("p3", who), "data": {"messages": [planted]}},
        {**event("p4", who), "extension": planted},
    ]
    taken = shop.take(given)
    assert (taken.counted, taken.quarantined) == (1, 3)
    take(shop.ledger.write, [planted.encode()], clock=lambda: NOW)
    for table in ("usage_event", "event_quarantine", "event_conflict", "audit"):
        assert planted not in str(shop.rows(f"SELECT * FROM {table}"))
    for path in shop.folder.iterdir():
        assert planted.encode() not in path.read_bytes()


def test_an_operator_admits_or_rejects_once_and_with_a_reason(shop: Shop) -> None:
    who = shop.customer("starter", NOW - 60 * DAY)
    shop.take(
        [
            event("old", who, NOW - 50 * DAY),
            event("neg", who, input_tokens=-1),
            event("big", who, input_tokens=10**10),
        ]
    )
    old, neg, big = (one.seq for one in waiting(shop, who))
    with shop.ledger.write() as connection:
        quarantine.admit(connection, old, "the box was offline", NOW)
        quarantine.reject(connection, big, "a test of theirs", NOW)
        for act, seq, reason, match in (
            (quarantine.admit, old, "again", "admitted already"),
            (quarantine.reject, old, "again", "admitted already"),
            (quarantine.admit, big, "again", "rejected already"),
            (quarantine.admit, neg, "why not", "can never be counted: input_tokens is negative"),
            (quarantine.reject, neg, " ", "needs a reason"),
            (quarantine.reject, 10**9, "x", "no event"),
        ):
            with pytest.raises(ProjectError, match=match):
                act(connection, seq, reason, NOW)
        audit.verify(connection)
    assert usage(shop.ledger.read, who, None, NOW)["requests"] == 1
    assert [one.seq for one in waiting(shop, who)] == [neg]
    again = shop.take([event("old", who, NOW - 50 * DAY), event("big", who, input_tokens=10**10)])
    assert (again.duplicates, again.counted) == (2, 0)


def test_an_unknown_customer_is_admitted_once_it_is_known(shop: Shop) -> None:
    shop.take([{**event("1", "newcomer"), "subject": "newcomer"}])
    (seq,) = (one.seq for one in waiting(shop, "newcomer"))
    with shop.ledger.write() as connection, pytest.raises(ProjectError, match="not known"):
        quarantine.admit(connection, seq, "x", NOW)
    with shop.ledger.write() as connection:
        from modelyard.bill import contracts, customers

        customers.add(connection, "newcomer", "USD", START)
        contracts.start(connection, "newcomer", "starter", START)
        quarantine.admit(connection, seq, "signed meanwhile", NOW)
    assert usage(shop.ledger.read, "newcomer", None, NOW)["requests"] == 1


def test_a_void_of_another_customer_withdraws_nothing(shop: Shop) -> None:
    one, other = shop.customer("starter"), shop.customer("starter")
    source = {"source": "shared"}
    shop.take(
        [{**event("mine", one), **source}, {**event("x", other, kind="void", refers_to="mine"), **source}]
    )
    assert usage(shop.ledger.read, one, None, NOW)["requests"] == 1


def test_a_customer_is_told_nothing_of_another(shop: Shop) -> None:
    one, other = shop.customer("starter"), shop.customer("starter")
    shop.take([event("1", one)])
    before = totals(shop, one)
    shop.take([event(str(at), other) for at in range(9)])
    shop.publish(proposed(unrelated={"per_million_input": "1", "per_million_output": "1"}))
    assert totals(shop, one) == before


def test_an_import_that_is_cut_off_is_finished_by_the_same_import(shop: Shop) -> None:
    who = shop.customer("starter")
    given = lines([event(f"k{at}", who) for at in range(3 * CHUNK)])
    calls = 0

    @contextmanager
    def dies() -> Iterator[Connection]:
        nonlocal calls
        calls += 1
        with shop.ledger.write() as connection:
            yield connection
            if calls == 2:
                raise KeyboardInterrupt  # before the second commit

    with pytest.raises(KeyboardInterrupt):
        take(dies, given, clock=lambda: NOW)
    assert usage(shop.ledger.read, who, None, NOW)["requests"] == CHUNK
    again = take(shop.ledger.write, given, clock=lambda: NOW)
    assert (again.duplicates, again.counted) == (CHUNK, 2 * CHUNK)


def test_what_goes_out_comes_in_again_and_is_read_by_the_official_library(shop: Shop) -> None:
    who = shop.customer("starter")
    given = [
        event("1", who, cached_tokens=3, release="r-1", finish="stop", duration_us=12),
        event("2", who, kind="replace", refers_to="1"),
        event("日本語 ☃", who, START + 123_456),
    ]
    shop.take(given)
    out = list(export.lines(shop.ledger.read, who))
    assert [json.loads(text)["id"] for text in out] == [one["id"] for one in given]
    assert json.loads(out[0])["data"]["plan_version"] == "starter@1"
    taken = take(shop.ledger.write, (text.encode() for text in out), clock=lambda: NOW)
    assert (taken.duplicates, taken.accepted) == (3, 3)
    for text in out:
        read = JSONFormat().read(CloudEvent, text)
        assert read.get_type() == "com.modelyard.usage"
        assert read.get_subject() == who
        theirs = JSONFormat().write(read)
        assert parse(theirs if isinstance(theirs, bytes) else theirs.encode()) == parse(text.encode())


@given(st.text(min_size=1, max_size=30), st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_line_of_ours_is_read_back_as_the_same_event(id: str, read: int, written: int) -> None:
    made = Incoming("s", id, "c", START, read, read // 2, written, 5, 0, "tokens", "r", None, "usage", None)
    try:
        raw = line(made).encode()
    except UnicodeEncodeError:
        return
    back = parse(raw)
    assert back == made or (isinstance(back, Unreadable) and "character" in back.why)
