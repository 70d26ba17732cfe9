"""The questions that calibrate the limit are about what their own document alone names."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.index import Bm25, Passage, answerable_limit, build, queries

NAMES = [
    f"{one}{two}"
    for one in ("ka", "lo", "mi", "nu", "pe")
    for two in ("bra", "dun", "fel", "gor", "hix", "jot")
]


def opened(path: Path, passages: list[tuple[str, str, str]]) -> Bm25:
    build(path, [Passage(document, "", heading, text, "MIT", "us") for document, heading, text in passages])
    return Bm25(path)


def test_a_heading_that_tells_nothing_makes_no_question(tmp_path: Path) -> None:
    own = [(f"{name}.md", f"2.1. {name} pump", f"A {name} is a pump.") for name in NAMES]
    shared = [(f"{name}.md", "Overview of the pump", "pump overview") for name in NAMES]
    alone = [
        ("zulu.md", "Zulu", "zulu"),
        ("long.md", "words " * 13 + "quux", "text"),
        ("n.md", "第 3 章", "数"),
    ]
    index = opened(tmp_path / "i.db", sorted(own + shared + alone))
    asked, left_out = queries(index)
    assert left_out == "document"
    assert sorted(query.text for query in asked) == sorted(f"What is {name} pump?" for name in NAMES)
    assert all(len(query.unit) == 2 for query in asked)


def test_a_chinese_heading_makes_a_chinese_question(tmp_path: Path) -> None:
    passages = [
        (f"{c}.md", f"第 {i} 节 {c}泵维护", f"{c}泵要维护。") for i, c in enumerate("东西南北上下左右前后")
    ]
    asked, _ = queries(opened(tmp_path / "i.db", passages))
    assert "什么是东泵维护？" in [query.text for query in asked]


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_the_limit_is_the_smallest_that_keeps_the_promise(tmp_path: Path, share: float) -> None:
    # The more of the others have a heading's second word, the less of it is covered without its own document.
    passages = [
        (f"{n}.md", f"{n} {NAMES[i // 2]}x", f"{n} {NAMES[i // 2]}x " * 2) for i, n in enumerate(NAMES)
    ]
    index = opened(tmp_path / "i.db", passages)
    got = answerable_limit(index, share)
    assert got is not None
    scores = [index.scores(q.text, 1, without=q.unit) for q in queries(index)[0]]
    best = sorted((found[0][1] for found in scores if found), reverse=True)
    assert sum(score >= got.limit for score in best) / got.queries <= share
    assert got.limit - 2e-6 <= best[int(share * got.queries)] < got.limit
    assert got.low <= got.false_accept <= got.high
    assert got.groups == got.queries == len(NAMES)
    assert got.accepted == 1.0


def test_false_accepts_are_of_questions_that_the_limit_was_not_chosen_on(tmp_path: Path) -> None:
    # Ten documents of six headings. Nearly all words of one document's headings stand elsewhere too.
    passages = [
        (f"{at}.md", f"{name} pump", f"{name} pump")
        for at in range(9)
        for name in (f"{n}{at}" for n in NAMES[:6])
    ]
    passages += [("x.md", f"{n}x pump valve motor", f"{n}x pump valve motor") for n in NAMES[:6]]
    passages += [("y.md", "", f"valve motor pump number {at}") for at in range(12)]
    index = opened(tmp_path / "i.db", sorted(passages))
    got = answerable_limit(index, 0.05)
    assert got is not None
    assert (got.queries, got.groups) == (60, 10)
    scores = [index.scores(q.text, 1, without=q.unit) for q in queries(index)[0]]
    assert sum(bool(found) and found[0][1] >= got.limit for found in scores) <= 3
    # That document's six questions pass a limit that the others alone would have set.
    assert got.false_accept >= 0.1
    assert got.high > 0.2


def test_questions_of_few_documents_stand_for_themselves(tmp_path: Path) -> None:
    passages = [("all.md", f"{n} pump", f"{n} pump") for n in NAMES]
    got = answerable_limit(opened(tmp_path / "i.db", passages), 0.05)
    assert got is not None
    assert (got.left_out, got.groups) == ("section", got.queries)
    assert got.high > got.false_accept


def test_too_few_headings_give_no_limit(tmp_path: Path) -> None:
    passages = [(f"{n}.md", f"{n} pump", f"{n} pump") for n in NAMES[:19]]
    assert answerable_limit(opened(tmp_path / "i.db", passages), 0.05) is None
