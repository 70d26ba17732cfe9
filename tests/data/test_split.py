"""Groups stay whole and stay where they are, and nothing leaks across the split."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.data import HoldOut, Source
from modelyard.data.duplicates import Shingler, jaccard, leaks, near_duplicates
from modelyard.data.items import Pair
from modelyard.data.sheet import Sheet
from modelyard.data.split import PARTS, Part, assign, place

SHARES = HoldOut(by="g", select=0.1, report=0.2)
LONG = " ".join(f"word{i}" for i in range(150))


def pair(id: str, question: str, answer: str, passage: str | None = None) -> Pair:
    return Pair(id, "s", id, question=question, answer=answer, passage=passage)


@given(st.sets(st.text(max_size=8), min_size=3, max_size=40), st.integers(0, 5))
def test_every_part_has_a_group_and_every_group_one_part(groups: set[str], seed: int) -> None:
    part_of = assign(groups, SHARES, seed)
    assert set(part_of) == groups
    assert set(part_of.values()) == set(PARTS)


def test_a_new_group_moves_no_other() -> None:
    before = assign([f"g{i}" for i in range(100)], SHARES, 0)
    after = assign([f"g{i}" for i in range(101)], SHARES, 0)
    assert all(after[group] == part for group, part in before.items())


@given(st.dictionaries(st.text(max_size=4), st.sampled_from(PARTS), min_size=3, max_size=20))
def test_a_side_that_rows_name_is_kept_unless_a_part_would_stay_empty(named: dict[str, Part]) -> None:
    part_of = assign(named, SHARES, 0, named)
    assert set(part_of.values()) == set(PARTS)
    if set(named.values()) == set(PARTS):
        assert part_of == named


def test_a_missing_part_takes_its_share_of_the_largest() -> None:
    named: dict[str, Part] = {f"g{i}": "train" if i % 4 else "report" for i in range(1000)}
    counts = Counter(assign(named, SHARES, 0, named).values())
    assert counts["report"] == 250
    assert 50 < counts["select"] < 100


def test_the_shares_are_about_those_asked_for() -> None:
    counts = Counter(assign([f"g{i}" for i in range(2000)], SHARES, 1).values())
    assert 330 < counts["report"] < 470
    assert 150 < counts["select"] < 250


def test_another_seed_splits_otherwise() -> None:
    groups = [f"g{i}" for i in range(50)]
    assert assign(groups, SHARES, 0) != assign(groups, SHARES, 1)


def test_jaccard_is_the_share_of_common_five_grams() -> None:
    shingler = Shingler()
    one, other = shingler.shingles("a b c d e f g h"), shingler.shingles("A b c d e f g x!")
    assert jaccard(one, other) == 3 / 5
    assert jaccard(shingler.shingles("中文五个字母"), shingler.shingles("中文五个字")) == 0.5
    assert jaccard(shingler.shingles("a b"), shingler.shingles("b a")) == 0
    assert jaccard(shingler.shingles(""), shingler.shingles("...")) == 0


@given(st.lists(st.text(st.sampled_from("ab "), min_size=1, max_size=30), max_size=12))
def test_kept_texts_are_never_near_each_other_and_dropped_ones_are_near_a_kept_one(texts: list[str]) -> None:
    shingler = Shingler()
    near = near_duplicates(texts, 0.8)
    gone = {item.at for item in near}
    for item in near:
        assert item.other not in gone
        assert item.other < item.at
        assert jaccard(shingler.shingles(texts[item.at]), shingler.shingles(texts[item.other])) >= 0.8


def test_one_passage_and_answer_on_both_sides_is_a_leak() -> None:
    train = [
        pair("same", "What does it say?", "word3", LONG),
        pair("reworded", "Tell me which one comes then", "word3", LONG + " end"),
        pair("other question", "Which word is the seventh there?", "word7", LONG),
        pair(
            "other passage", "What does it say?", "word3", "word3 stands in a quite different short passage"
        ),
        pair("not stated", "Is something else said?", "NOT STATED", LONG),
    ]
    held = [pair("h", "What does it say?", "word3", LONG), pair("n", "Who is the owner?", "NOT STATED", LONG)]
    assert [train[near.at].id for near in leaks(train, held, 0.8)] == ["same", "reworded"]


def test_one_template_over_different_things_is_no_leak() -> None:
    train = [
        pair(f"t{i}", f"What is the default of parameter p{i} of function f{i}?", f"v{i}") for i in range(50)
    ]
    held = [
        pair(f"h{i}", f"What is the default of parameter q{i} of function g{i}?", f"v{i}") for i in range(50)
    ]
    assert leaks(train, held, 0.8) == []


def test_the_same_question_without_a_passage_is_a_leak_whatever_its_answer() -> None:
    train = [pair("t", "What  is it?", "one"), pair("long", "q", LONG)]
    held = [pair("h", "What is it?", "two"), pair("h2", "q", LONG + " more")]
    assert [near.at for near in leaks(train, held, 0.8)] == [0, 1]


def test_a_conversation_on_both_sides_is_a_leak() -> None:
    said = ({"role": "user", "content": "hello there"}, {"role": "assistant", "content": "hi"})
    other = ({"role": "user", "content": "something else"}, {"role": "assistant", "content": "hi"})
    train = [Pair("a", "s", "a", messages=said), Pair("b", "s", "b", messages=other)]
    assert [near.at for near in leaks(train, [Pair("h", "s", "h", messages=said)], 0.8)] == [0]


def test_texts_that_are_less_alike_than_asked_stay() -> None:
    words = [f"w{i}" for i in range(60)]
    # Two changed words take ten of 56 shingles: similarity 46 / 66.
    texts = [" ".join([*words[:20], f"x{i}", *words[21:40], f"y{i}", *words[41:]]) for i in range(40)]
    assert near_duplicates(texts, 0.8) == []
    assert len(near_duplicates(texts, 0.6)) >= 38  # MinHash may miss one


def test_the_last_groups_of_a_part_are_not_taken_from_it() -> None:
    low = [group for group in (f"g{i}" for i in range(200)) if place(group, 0) < 0.1][:4]
    part_of = assign(low, SHARES, 0, dict.fromkeys(low, "train"))
    assert set(part_of.values()) == set(PARTS)


def test_a_sheet_that_does_not_add_up_is_an_error() -> None:
    sheet = Sheet()
    sheet.ingest("s", "pairs")
    with pytest.raises(ValueError, match="1 pairs came in, 0 were kept and 0 dropped"):
        sheet.rows((Source(path="s", licence="MIT", owner="me", basis="own"),))
