"""Every file type gives its text, or a rule by which it gives none."""

from __future__ import annotations

import contextlib
import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.data.items import Drop, Page
from modelyard.data.readers import read_page
from modelyard.data.readers.decode import decode
from modelyard.data.readers.html import read as read_html
from modelyard.data.readers.jsonl import rows
from modelyard.data.readers.markdown import read as read_markdown
from modelyard.data.readers.text import read as read_text


def page(folder: Path, name: str, content: bytes) -> Page:
    (folder / name).write_bytes(content)
    return read_page(folder / name, name)


def rule(folder: Path, name: str, content: bytes) -> str:
    with pytest.raises(Drop) as caught:
        page(folder, name, content)
    return caught.value.rule


def test_markdown_loses_its_front_matter_and_takes_its_title_from_the_first_heading() -> None:
    got = read_markdown(b"---\ntitle: no\n---\nintro\nSetext *title*\n======\ntext\n## Two ##\nmore", "a.md")
    assert got.title == "intro Setext *title*".strip("*_` ")
    got = read_markdown(b"---\ntitle: no\n---\n# `One`\ntext\n## Two ##\nmore", "a.md")
    assert (got.title, got.text) == ("One", "\n# `One`\n\ntext\n\n## Two\n\nmore")


def test_a_comment_in_a_code_fence_of_markdown_is_no_heading() -> None:
    got = read_markdown(b"```sh\n# comment\n```\n\n# Real", "a.md")
    assert got.title == "Real"
    assert "```sh\n# comment\n```" in got.text


def test_html_keeps_headings_and_code_and_leaves_menus_out() -> None:
    got = read_html(
        b"<html><head><title>T</title><style>x{}</style></head><body><nav>menu</nav><header>top</header>"
        b"<h1>One</h1><p>A <b>bold</b>\nword.</p><script>evil()</script><h2>Two</h2><ul><li><p>first</p></li>"
        b"<li>second</li></ul><pre>x = 1\n  # no heading</pre><table><tr><th>a</th><th>b</th></tr></table>"
        b"<div role='navigation'>menu</div><footer>foot</footer></body></html>",
        "a.html",
    )
    assert got.title == "One"
    assert [line for line in got.text.split("\n") if line] == [
        "# One", "A bold word.", "## Two", "- first", "- second", "```", "x = 1", "  # no heading", "```",
        "a | b",
    ]  # fmt: skip


def test_html_without_h1_is_called_by_its_title_and_without_both_by_its_name() -> None:
    assert read_html(b"<title> The\n page </title><p>x", "a.html").title == "The page"
    assert read_html(b"<p>x", "dir/a.html").title == "a"


def test_html_nested_deeper_than_python_recurses_is_read() -> None:
    assert "deep" in read_html(b"<div>" * 5000 + b"deep", "a.html").text


def test_html_says_its_charset() -> None:
    html = '<meta charset="gb18030"><p>软件包管理'.encode("gb18030")
    assert "软件包管理" in read_html(html, "a.html").text


def test_underlined_lines_of_text_are_headings() -> None:
    got = read_text(b"=====\nTitle\n=====\n\nIntro\n\nPart one\n--------\ntext\n", "a.rst")
    assert got.title == "Title"
    assert [line for line in got.text.split("\n") if line.startswith("#")] == ["# Title", "## Part one"]


def test_a_table_rule_is_no_heading() -> None:
    got = read_text(b"a    b\n---- ----\n1    2\n\n-----\n-----\n", "a.txt")
    assert "#" not in got.text


def test_a_gzipped_file_is_read_and_a_broken_one_is_dropped(tmp_path: Path) -> None:
    assert page(tmp_path, "a.txt.gz", gzip.compress(b"Hello")).text == "Hello"
    assert rule(tmp_path, "b.txt.gz", b"no gzip") == "broken_gzip"
    assert rule(tmp_path, "c.txt.gz", gzip.compress(b"Hello" * 1000)[:-9]) == "broken_gzip"


def test_an_unknown_type_is_dropped_by_name(tmp_path: Path) -> None:
    assert rule(tmp_path, "a.docx", b"PK") == "unknown_type"
    assert rule(tmp_path, "LICENSE", b"text") == "unknown_type"


def test_charsets_are_told_by_mark_or_by_their_text_and_never_guessed() -> None:
    french = "La commune compte deux mille habitants, répartis entre le bourg et les hameaux. "
    french += "L'école a été rénovée grâce à la région. Les élèves y protègent la forêt. Où êtes-vous allés?"
    assert decode(french.encode("utf-16")) == french
    assert decode(b"\xef\xbb\xbfabc") == "abc"
    assert decode(french.encode("latin-1")) == french
    chinese = "软件包管理系统是一个重要的工具，它能够让用户安装软件。请阅读手册，以了解更多的信息。"
    assert decode(chinese.encode("gb18030")) == chinese
    # These words read as well in the charset of another part of Europe.
    either = "Les élèves y apprennent à protéger la forêt voisine. Noël approche.".encode("latin-1")
    japanese = "ソフトウェアのインストールには管理者権限が必要です。詳しくはマニュアルをお読みください。"
    assert decode(japanese.encode("shift_jis")) == japanese
    for binary in (
        bytes(range(256)) * 4,
        b"\x89PNG\0\0\0",
        bytes(range(128, 256)) * 40,
        "Установка программ".encode("koi8-r"),
        either,
    ):
        with pytest.raises(Drop):
            decode(binary)


def test_a_broken_line_of_jsonl_keeps_its_number(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n\n{"a": \n[1]\n\xff\n{"b": 2}')
    got = [(line.number, line.rule) for line in rows(tmp_path / "a.jsonl")]
    assert got == [(1, ""), (3, "broken_line"), (4, "not_an_object"), (5, "bad_encoding"), (6, "")]


def test_a_line_nested_too_deep_is_a_broken_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("[" * 100_000)
    assert [line.rule for line in rows(tmp_path / "a.jsonl")] == ["broken_line"]


@given(st.binary(max_size=300), st.sampled_from(["a.txt", "a.md", "a.html", "a.rst"]))
def test_any_bytes_are_read_or_dropped(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data)
    with contextlib.suppress(Drop):
        assert isinstance(read_page(path, name).title, str)
