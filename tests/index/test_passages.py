"""A document cut into passages loses nothing, repeats nothing and keeps to the limit."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from modelyard.index import cut, length

TEXT = st.lists(
    st.sampled_from(
        ["# H", "## Deeper", "word", "two words.", "中文句子。", "```", "    code  x", "", "x" * 60, "\t"]
    ),
    max_size=40,
).flatmap(lambda parts: st.sampled_from(["\n", "\n\n", " "]).map(lambda glue: glue.join(parts)))


@given(TEXT, st.integers(4, 40))
def test_nothing_is_lost_or_repeated_and_no_passage_is_too_long(text: str, limit: int) -> None:
    pieces = cut(text, limit)
    assert "".join("".join(piece.text.split()) for piece in pieces) == "".join(text.split())
    assert all(0 < length(piece.text) <= limit for piece in pieces)


@given(st.text(max_size=400), st.integers(1, 12))
def test_any_text_is_cut(text: str, limit: int) -> None:
    pieces = cut(text, limit)
    assert "".join("".join(piece.text.split()) for piece in pieces) == "".join(text.split())


def test_a_short_document_is_one_passage() -> None:
    pieces = cut("# Title\n\nA line.\n\n## Part\n\nAnother.", 160)
    assert [(piece.heading, piece.text) for piece in pieces] == [
        ("Title", "# Title\n\nA line.\n\n## Part\n\nAnother.")
    ]


def test_sections_are_not_mixed_and_a_heading_stays_with_its_text() -> None:
    text = "# One\n\n## Two\n\n" + "word " * 20 + "\n\n## Three\n\n" + "term " * 20
    pieces = cut(text, 32)
    assert [piece.heading for piece in pieces] == ["Two", "Three"]
    assert pieces[0].text.startswith("# One\n\n## Two\n\nword")


def test_a_heading_is_never_left_alone_by_a_paragraph_that_fills_a_passage() -> None:
    pieces = cut("# Title\n\n" + "One two three. " * 10 + "\n\n# Next\n\nshort", 30)
    assert pieces[0].text.startswith("# Title\n\nOne two three.")


def test_long_sections_break_at_paragraphs_then_sentences() -> None:
    text = "# A\n\n" + "One two three four five. " * 8 + "\n\n" + "six " * 10
    pieces = cut(text, 20)
    assert all(re.search(r"(\.|six)$", piece.text.strip()) for piece in pieces)
    assert {piece.heading for piece in pieces} == {"A"}
    assert all(piece.text.endswith("。") for piece in cut("中文句子很短。" * 30, 32))


def test_code_lines_stay_whole_and_a_comment_in_a_fence_is_no_heading() -> None:
    code = "```\n\n# comment\n\n" + "\n".join(f"    call(a{i}, b{i})" for i in range(20)) + "\n```"
    pieces = cut("# Top\n\n" + code, 16)
    assert {piece.heading for piece in pieces} == {"Top"}
    assert all(re.fullmatch(r"    call\(a\d+, b\d+\)|```|# comment|# Top|", line)
               for piece in pieces for line in piece.text.split("\n"))  # fmt: skip


def test_chinese_characters_and_endless_runs_are_counted() -> None:
    assert length("安装 apt 软件包") == 6
    assert length("x" * 240) == 10
