"""What is put before the model for a question."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.grounding import Grounded, NotStated, put
from modelyard.index.bm25 import Bm25, Passage, build
from modelyard.prompt import Prompter, ask


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Bm25]:
    """Three passages."""
    texts = ["The cat sleeps on the roof.", "The dog waits at the door.", "猫在屋顶上睡觉。"]
    build(
        tmp_path / "passages.db",
        [Passage(f"d{at}", "", "", text, "CC0-1.0", "n") for at, text in enumerate(texts)],
    )
    found = Bm25(tmp_path / "passages.db", limit=0.15)
    yield found
    found.close()


def test_a_question_is_put_with_the_passage_that_is_about_it(index: Bm25, model: Path) -> None:
    prompter = Prompter(model)
    question = "Where does the cat sleep on the roof?"
    placed = put(prompter, index, question)
    assert isinstance(placed, Grounded)
    assert placed.hits[0].document == "d0"
    assert list(placed.prompt) == prompter.prompt(ask(question, ["The cat sleeps on the roof."]))


def test_chinese_finds_chinese(index: Bm25, model: Path) -> None:
    placed = put(Prompter(model), index, "猫在屋顶上睡觉吗")
    assert isinstance(placed, Grounded)
    assert placed.hits[0].document == "d2"


def test_below_the_limit_nothing_is_asked(index: Bm25, model: Path) -> None:
    placed = put(Prompter(model), index, "Which quantum chromodynamics lattice does the cat prefer nowadays?")
    assert isinstance(placed, NotStated)
    assert "below the limit" in placed.why
    assert placed.hits


def test_no_word_in_common_is_not_stated(index: Bm25, model: Path) -> None:
    placed = put(Prompter(model), index, "xyzzy plugh")
    assert placed == NotStated((), "no passage shares a word with the question")


def test_without_an_index_the_bare_question_is_asked(model: Path) -> None:
    prompter = Prompter(model)
    placed = put(prompter, None, "Why?")
    assert isinstance(placed, Grounded)
    assert list(placed.prompt) == prompter.prompt(ask("Why?"))
    assert placed.hits == ()
