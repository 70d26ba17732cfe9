"""Tokens become text as they come; stop texts end it wherever they fall."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.tiny import tiny_model

from modelyard.engines import Event
from modelyard.prompt import Prompter, Words
from modelyard.serve.answer import Answer


@pytest.fixture(scope="module")
def prompter(tmp_path_factory: pytest.TempPathFactory) -> Prompter:
    return Prompter(tiny_model(tmp_path_factory.mktemp("words") / "model"))


class Stopped:
    """An engine that notes what was cancelled, and obeys a while later."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def cancel(self, id: str) -> None:
        self.ids.append(id)


def write(
    prompter: Prompter,
    ids: Sequence[int],
    *,
    stop: tuple[str, ...] = (),
    bare: bool = False,
    step: int = 1,
    finish: str = "stop",
) -> tuple[Answer, Stopped, list[str]]:
    """The answer after these tokens, `step` an event; and the text after each event."""

    async def go() -> tuple[Answer, Stopped, list[str]]:
        answer, engine, seen = Answer("a", prompter, stop=stop, bare=bare), Stopped(), []
        answer.under(engine)  # type: ignore[arg-type]
        for at in range(0, len(ids), step):
            answer.take(Event("a", tuple(ids[at : at + step]), 0.0))
            seen.append(answer.text)
        answer.take(Event("a", (), 0.0, "cancelled" if engine.ids else finish))  # type: ignore[arg-type]
        assert answer.done.done()
        return answer, engine, [*seen, answer.text]

    return asyncio.run(go())


TEXTS = st.text(max_size=40)


@settings(max_examples=200, deadline=None)
@given(text=TEXTS, step=st.integers(1, 5))
def test_the_text_of_all_pieces_is_the_text_of_the_whole(prompter: Prompter, text: str, step: int) -> None:
    ids = prompter.encode(text)
    answer, _, seen = write(prompter, ids, step=step)
    assert answer.text == prompter.decode(ids)
    assert answer.tokens == len(ids)
    assert all(later.startswith(earlier) for earlier, later in pairwise(seen))


@settings(max_examples=300, deadline=None)
@example([97, 97, 97, 129, 97])  # a character begins right behind three bytes that spell none
@given(st.lists(st.integers(3, 319), max_size=30) | st.lists(st.integers(90, 260), max_size=12))
def test_any_tokens_become_text_though_they_spell_no_characters(prompter: Prompter, ids: list[int]) -> None:
    words = Words(prompter)
    told = "".join(words.feed((id,)) for id in ids) + words.rest()
    assert told.replace("�", "") == prompter.decode(ids).replace("�", "")


@settings(max_examples=200, deadline=None)
@given(
    text=st.text("abc ", max_size=30),
    stop=st.lists(st.text("abc ", min_size=1, max_size=4), min_size=1, max_size=3),
    step=st.integers(1, 4),
)
def test_a_stop_text_cuts_where_it_first_appears(
    prompter: Prompter, text: str, stop: list[str], step: int
) -> None:
    answer, engine, seen = write(
        prompter, prompter.encode(text), stop=tuple(stop), step=step, finish="length"
    )
    at = min((text.find(one) for one in stop if one in text), default=-1)
    first = [one for one in stop if one in text]
    if first:
        # Of two stop texts the one that is whole first ends the answer; what it cuts holds none of it.
        assert not any(one in answer.text for one in stop)
        assert text.startswith(answer.text)
        assert len(answer.text) >= at
        assert answer.finish == "stop"
        assert engine.ids in ([], ["a"])
    else:
        assert (answer.text, answer.finish) == (text, "length")
    assert all(not any(one in part for one in stop) for part in seen)


def test_what_comes_after_a_stop_text_is_not_counted(prompter: Prompter) -> None:
    ids = prompter.encode("one STOP two three four")
    answer, engine, _ = write(prompter, ids, stop=("STOP",))
    assert answer.text == "one "
    assert engine.ids == ["a"]
    through = next(n for n in range(len(ids)) if "STOP" in prompter.decode(ids[:n]))
    assert answer.tokens == through


def test_a_part_of_a_stop_text_at_the_end_is_text(prompter: Prompter) -> None:
    answer, _, seen = write(prompter, prompter.encode("one ST"), stop=("STOP",))
    assert answer.text == "one ST"
    assert not any(part.endswith("S") for part in seen[:-1])


def test_a_bare_answer_has_no_white_space_around_it_at_any_moment(prompter: Prompter) -> None:
    answer, _, seen = write(prompter, prompter.encode("  \n one  two \n "), bare=True)
    assert answer.text == "one  two"
    assert all(part == part.strip() for part in seen)


def test_a_cancelled_answer_keeps_and_counts_what_was_written(prompter: Prompter) -> None:
    async def go() -> Answer:
        answer = Answer("a", prompter)
        answer.take(Event("a", tuple(prompter.encode("one two")), 0.0))
        answer.cancel()
        answer.take(Event("a", tuple(prompter.encode(" three")), 0.0))
        answer.take(Event("a", (), 0.0, "cancelled"))
        return answer

    answer = asyncio.run(go())
    assert (answer.text, answer.finish) == ("one two three", "cancelled")
    assert answer.tokens == len(prompter.encode("one two")) + len(prompter.encode(" three"))


def test_log_probabilities_stand_beside_their_tokens(prompter: Prompter) -> None:
    async def go() -> Answer:
        answer = Answer("a", prompter)
        answer.take(Event("a", (70, 71), 0.0, None, "", (-0.5, -1.5)))
        answer.take(Event("a", (72,), 0.0, "length", "", (-2.0,)))
        return answer

    assert asyncio.run(go()).pieces == [(70, -0.5), (71, -1.5), (72, -2.0)]
