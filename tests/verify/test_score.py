"""Is an answer right?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.grounding import is_not_stated, normal
from modelyard.verify.score import exact_match, f1, words

TEXTS = st.text(alphabet=st.sampled_from(list("ab.'\"` 答案。「」e\u0301…\n")), max_size=12)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("None.", "None"),
        ("`None`", "None"),
        ('"utf-8".', "utf-8"),
        ("'utf-8.'", "utf-8"),
        ("  a \n b ", "a b"),
        ("e\u0301t\u00e9", "\u00e9t\u00e9"),
        ("「答案」。", "答案"),
        ("``x``", "x"),
    ],
)
def test_the_same_answer_in_other_dress_is_right(answer: str, right: str) -> None:
    assert exact_match(answer, right) == 1.0


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("none", "None"),
        ("None or 3", "None"),
        ("''", ""),
        ("...", ""),
        ("'a", "a"),
        ("3.8", "38"),
        ("a b", "ab"),
    ],
)
def test_another_answer_is_wrong(answer: str, right: str) -> None:
    assert exact_match(answer, right) == 0.0


@pytest.mark.parametrize("answer", ["NOT STATED", "NOT STATED.", ' "NOT  STATED" ', "`NOT STATED`"])
def test_not_stated_counts_as_the_whole_answer(answer: str) -> None:
    assert is_not_stated(answer)


@pytest.mark.parametrize("answer", ["not stated", "It is NOT STATED", "NOT STATED in the passage", "NOT", ""])
def test_not_stated_inside_another_answer_does_not_count(answer: str) -> None:
    assert not is_not_stated(answer)


@given(TEXTS)
def test_the_normal_form_is_its_own_normal_form(text: str) -> None:
    assert normal(normal(text)) == normal(text)


@given(TEXTS)
def test_only_white_space_becomes_empty(text: str) -> None:
    assert bool(normal(text)) == bool(text.split())


@given(TEXTS, TEXTS)
def test_scores_lie_between_nought_and_one_and_do_not_depend_on_the_side(a: str, b: str) -> None:
    assert 0.0 <= f1(a, b) <= 1.0
    assert f1(a, b) == f1(b, a)
    assert exact_match(a, b) == exact_match(b, a)


@given(TEXTS)
def test_an_answer_agrees_with_itself(text: str) -> None:
    assert exact_match(text, text) == 1.0
    assert f1(text, text) == 1.0


def test_f1_counts_words_and_chinese_characters() -> None:
    assert f1("the red house", "The red car") == pytest.approx(2 / 3)
    assert f1("红色的房子", "红色房子") == pytest.approx(2 * 4 / 9)
    assert words("红 car car")["car"] == 2


def test_f1_gives_nothing_for_an_answer_where_none_is_stated() -> None:
    assert f1("NOT STATED", "not stated here") == 0.0
    assert f1("it is stated", "NOT STATED") == 0.0
