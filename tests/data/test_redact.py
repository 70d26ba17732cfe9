"""Personal data goes, numbers that are none stay, and an answer still stands in its passage."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.data.clean import clean, stands_in
from modelyard.data.items import Pair
from modelyard.data.redact import Redactor

BOTH = Redactor(("email", "phone"), "US")


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("Write to jane.doe+x@mail.example.co.uk.", "Write to [e-mail]."),
        ("请联系foo@bar.com。", "请联系[e-mail]。"),
        ("Call +44 20 7946 0958 now", "Call [phone] now"),
        ("Call (650) 253-0000 or 650-253-0001", "Call [phone] or [phone]"),
        ("tel: 6502530000", "tel: [phone]"),
        ("+86 138 1234 5678", "[phone]"),
    ],
)
def test_addresses_and_phone_numbers_are_marked(text: str, marked: str) -> None:
    assert BOTH.redact(text)[0] == marked


@pytest.mark.parametrize(
    "text",
    [
        "the largest int is 2147483647, then 4294967295",
        "version 3.11.7.2024.1105 of 2023-01-15 10:30:00",
        "ISBN 978-0-13-468599-1 and ISBN 0-306-40615-2",
        "hosts 192.168.100.200 and 10.0.0.1",
        "pi is 3.14159265358979, e is 2.7182818284",
        "0123456789 0xdeadbeef12345678 1700000000",
        "RFC 2822, port 8080, id_6502530000, 1 000 000 000 rows",
        "decorators @property and matrix a @ b",
    ],
)
def test_other_numbers_stay(text: str) -> None:
    assert BOTH.redact(text) == (text, 0)


def test_a_bare_mobile_number_counts_where_the_country_tells_it() -> None:
    assert Redactor(("phone",), "CN").redact("号码13812345678。")[0] == "号码[phone]。"


def test_only_the_kinds_asked_for_go() -> None:
    text = "a@b.com +44 20 7946 0958"
    assert Redactor(("email",), "US").redact(text)[0] == "[e-mail] +44 20 7946 0958"
    assert Redactor((), "US").redact(text) == (text, 0)


def test_an_answer_cut_from_a_marked_passage_stands_in_it() -> None:
    passage = "Ask Bob (bob@example.com) or call 650-253-0000 today."
    for answer in (
        "bob@example.com",
        "bob",
        "253-0000",
        "or call 650-253-0000",
        "Ask Bob",
        "Bob (bob@example",
    ):
        pair = Pair("1", "s", "i", question="Is bob@example.com there?", passage=passage, answer=answer)
        got, places = BOTH.pair(pair)
        assert got.answer in (got.passage or "")
        assert "example.com" not in got.answer + got.question + (got.passage or "")
        assert places == 3


def test_a_name_with_personal_data_becomes_a_hash_that_tells_apart() -> None:
    one, other = BOTH.name("a@b.com"), BOTH.name("c@b.com")
    assert one != other
    assert "@" not in one
    assert BOTH.name("module") == "module"


@given(st.text(st.sampled_from("a1 @.+-(65)\n0电话"), max_size=60), st.integers(0, 59), st.integers(0, 59))
def test_redaction_never_takes_an_answer_out_of_its_passage(text: str, start: int, end: int) -> None:
    passage = clean(text)
    answer = passage[min(start, end) : max(start, end)].strip()
    if answer:
        got, _ = BOTH.pair(Pair("1", "s", "i", question="q", passage=passage, answer=answer))
        assert got.answer in (got.passage or "")


@given(st.text(max_size=200))
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    once.encode("utf-8")


@given(
    st.text(st.sampled_from("ab \t\n\r\u00a0\u0301\u200b"), max_size=60),
    st.integers(0, 59),
    st.integers(0, 59),
)
def test_cleaning_never_takes_an_answer_out_of_its_passage(text: str, start: int, end: int) -> None:
    first, last = min(start, end), max(start, end)
    # A combining mark that is cut off its letter is another text.
    if (
        text[first : first + 1] != "\u0301"
        and text[last : last + 1] != "\u0301"
        and "\u200b\u0301" not in text
    ):
        assert stands_in(clean(text[first:last]).strip(), clean(text))


def test_code_keeps_its_indentation() -> None:
    assert (
        clean("def f():\r\n\tif  x:\r\n\n\n\n    return\u00a0 1 \x07\n")
        == "def f():\n\tif x:\n\n    return 1"
    )


def test_redaction_is_linear_on_text_made_to_be_slow() -> None:
    started = time.perf_counter()
    for text in ("a." * 50_000 + "@", "a@" + "a." * 50_000, "1 " * 100_000, "a" * 200_000 + "@"):
        BOTH.redact(text)
    assert time.perf_counter() - started < 5
