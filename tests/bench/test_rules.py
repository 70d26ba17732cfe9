"""The rule program reads a passage's structure; questions here are made for the test."""

from __future__ import annotations

import pytest
import rules
from hypothesis import given
from hypothesis import strategies as st

from modelyard.verify.score import exact_match

BREW = """# kitchen.Pot.brew

Pot.brew(tea, *, minutes=3, label='a, b', lid=(1, 2)): method in the module kitchen.
Brew the tea. The pot must be full.
Raises kitchen.EmptyPotError when there is no water.
New in version 2.4.
Changed in version 3.1: The lid may be left open. It was closed before."""


@pytest.mark.parametrize(
    ("question", "right"),
    [
        ("What is the default of `minutes` in kitchen.Pot.brew()?", "3"),
        ("What does label default to in kitchen.Pot.brew?", "'a, b'"),
        ("What does lid default to in Pot.brew in kitchen?", "(1, 2)"),
        ("Which parameters has the method Pot.brew?", "tea, *, minutes=3, label='a, b', lid=(1, 2)"),
        ("Which error does `kitchen.Pot.brew` raise?", "kitchen.EmptyPotError"),
        ("In which module is Pot.brew?", "kitchen"),
        ("What does kitchen.Pot.brew do?", "Brew the tea."),
        ("Which version introduced kitchen.Pot.brew?", "2.4"),
        ('Since when holds "The lid may be left open" of kitchen.Pot.brew?', "3.1"),
    ],
)
def test_it_reads_the_answer_from_the_passage(question: str, right: str) -> None:
    assert exact_match(rules.answer(question, BREW), right) == 1.0


@pytest.mark.parametrize(
    "question",
    [
        "What is the default of `minutes` in kitchen.Pan.brew()?",  # another thing
        "What does Pot.brew in garden do?",  # another module
        "What is the default of `tea` in kitchen.Pot.brew()?",  # a parameter without a default
        "What is the default of `sugar` in kitchen.Pot.brew()?",  # no such parameter
    ],
)
def test_what_the_passage_does_not_state_is_not_stated(question: str) -> None:
    assert rules.answer(question, BREW) == "NOT STATED"


@given(st.text(max_size=80), st.text(max_size=200))
def test_it_answers_anything_with_words_of_the_passage(question: str, passage: str) -> None:
    answer = rules.answer(question, passage)
    assert answer == "NOT STATED" or answer in passage
