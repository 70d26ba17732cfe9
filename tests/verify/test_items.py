"""Which pairs are asked."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from tests.verify.stage import pair

from modelyard.verify.items import choose, items

POOL = items([pair("select", at) for at in range(46)])


def test_a_conversation_is_answerable_and_its_last_message_is_the_right_answer() -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    (item,) = items([{"id": "1", "group": "g", "kind": None, "messages": messages}])
    assert item.answerable
    assert item.answer == "b"


def test_a_question_about_an_absent_thing_without_a_passage_is_a_stratum_of_its_own() -> None:
    row = pair("select", 45)
    assert items([row])[0].stratum == "absent"
    assert items([row | {"passage": "another passage"}])[0].stratum == "unanswerable"


@given(st.integers(1, 60), st.integers(0, 5), st.permutations(range(len(POOL))))
def test_the_choice_is_no_larger_than_asked_and_does_not_depend_on_the_order(
    most: int, seed: int, order: list[int]
) -> None:
    chosen = choose(POOL, most, seed=seed)
    assert len(chosen) == min(most, len(POOL))
    assert len({item.id for item in chosen}) == len(chosen)
    assert choose([POOL[at] for at in order], most, seed=seed) == chosen


def test_strata_keep_their_shares_and_groups_take_turns() -> None:
    chosen = choose(POOL, 23, seed=1)
    assert Counter(item.stratum for item in chosen) == {"answerable": 15, "unanswerable": 5, "absent": 3}
    by_group = Counter(item.group for item in chosen if item.answerable)
    assert len(by_group) == 8
    assert max(by_group.values()) - min(by_group.values()) <= 1


def test_a_small_stratum_is_not_lost() -> None:
    pool = items(
        [pair("select", at % 30) | {"id": f"a{at}"} for at in range(95)] + [pair("select", 31), pair("s", 32)]
    )
    assert Counter(item.stratum for item in choose(pool, 20, seed=0))["unanswerable"] == 2


def test_another_seed_chooses_otherwise() -> None:
    assert choose(POOL, 10, seed=1) != choose(POOL, 10, seed=2)
