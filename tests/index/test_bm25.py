"""Any question finds what it is about, and nothing a user types is read as a query language."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.errors import RecordError
from modelyard.index import Bm25, Passage, build, query_terms, terms

TEXTS = {
    "os.md": (
        "os.path",
        "os.path.join(path, *paths) joins path components. It raises TypeError for numbers.",
    ),
    "json.md": ("json", "json.dumps writes an object as text; the default of indent is None."),
    "apt.md": ("软件包管理", "使用 apt 安装软件包。升级系统之前请备份数据。"),
    "disk.md": ("磁盘", "用 fdisk 给磁盘分区，用 mkfs 建立文件系统。"),
    "http.md": ("HTTPServer", "HTTPServer listens for requests; read_text is not its method. Café opens."),
}


def passages() -> list[Passage]:
    return [Passage(name, title, "", text, "MIT", "us") for name, (title, text) in TEXTS.items()]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Bm25:
    path = tmp_path_factory.mktemp("index") / "passages.db"
    assert build(path, passages()) == len(TEXTS)
    return Bm25(path)


@pytest.mark.parametrize(
    ("question", "document"),
    [
        ("What does os.path.join do?", "os.md"),
        ("how to join components", "os.md"),
        ("Which exception is raised by joining numbers?", "os.md"),
        ("default of indent?", "json.md"),
        ("如何安装软件包？", "apt.md"),
        ("怎样给磁盘分区", "disk.md"),
        ("What is an http server?", "http.md"),
        ("cafe", "http.md"),
        ("ＨＴＴＰＳｅｒｖｅｒ", "http.md"),
    ],
)
def test_a_question_finds_its_passage(index: Bm25, question: str, document: str) -> None:
    hits = index.search(question, 3)
    assert hits[0].document == document
    assert hits[0].score == max(hit.score for hit in hits) > 0
    assert (hits[0].licence, hits[0].owner, hits[0].text) == ("MIT", "us", TEXTS[document][1])


@given(st.text(max_size=80) | st.text(st.sampled_from("\"'()*^:-+{}~ ANDORNOTEa软.\0"), max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_question(index: Bm25, question: str) -> None:
    assert all(hit.score >= 0 for hit in index.search(question, 2))


@pytest.mark.parametrize("question", ["", "\ud800\0", '" OR (', "NEAR(", "?" * 10_000, "word " * 50_000])
def test_a_question_about_nothing_finds_nothing(index: Bm25, question: str) -> None:
    assert index.search(question, 3) == []


def test_a_pasted_page_finds_what_it_is_about(index: Bm25) -> None:
    page = " ".join(f"filler{i}" for i in range(400)) + " fdisk 磁盘分区"
    assert index.search(page, 1)[0].document == "disk.md"


def test_the_score_means_the_same_for_short_and_long_questions(index: Bm25) -> None:
    short = index.search("fdisk?", 1)[0].score
    long = index.search("Please tell me what is the fdisk?", 1)[0].score
    half_unknown = index.search("fdisk parrot", 1)[0].score
    assert short == long
    assert half_unknown < 0.6 * short


def test_what_is_left_out_scores_as_if_it_had_never_been_indexed(index: Bm25, tmp_path: Path) -> None:
    build(tmp_path / "less.db", [p for p in passages() if p.document != "apt.md"])
    less = Bm25(tmp_path / "less.db")
    hole = index.document_rows()["apt.md"]
    for question in ("安装 fdisk 磁盘", "default of join", "apt"):
        want = [score for _, score in less.scores(question, 5)]
        got = [score for _, score in index.scores(question, 5, without=hole)]
        # The mean length of a passage, which BM25 uses, still counts those left out.
        assert got == pytest.approx(want, rel=0.1)
    less.close()


def test_terms_hold_words_parts_of_identifiers_and_bigrams() -> None:
    assert terms("os.path.join") == ["os.path.join", "os", "path", "join"]
    assert terms("HTTPServer read_text __init__") == [
        "httpserver", "http", "server", "read_text", "read", "text", "__init__",
    ]  # fmt: skip
    assert terms("软件包 x 字") == ["软件", "件包", "x", "字"]
    assert terms("boxes files class") == ["box", "file", "class"]
    assert terms("हिन्दी") == ["हिन्दी"]


def test_question_words_are_left_out_unless_there_is_nothing_else() -> None:
    assert query_terms("What is the default of indent?") == ["default", "indent"]
    assert query_terms("什么是软件？") == ["软件"]
    assert query_terms("What is it?") == ["what", "is", "it"]


@given(st.text(max_size=200))
def test_terms_are_made_of_letters_digits_points_and_underscores(text: str) -> None:
    for term in terms(text):
        assert 0 < len(term) <= 64
        assert not set(term) & set(" \"'()*^:-+\0\n")


def test_a_file_that_is_no_index_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "passages.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(RecordError, match="cannot be opened"):
        Bm25(tmp_path / "passages.db")
    with pytest.raises(RecordError, match="cannot be opened"):
        Bm25(tmp_path / "absent.db")
    with pytest.raises(RecordError, match="cannot be read"):
        Bm25.load(tmp_path)


def test_the_index_opens_in_a_folder_that_cannot_be_written(index: Bm25, tmp_path: Path) -> None:
    build(tmp_path / "a b?#.db", passages())
    (tmp_path / "a b?#.db").chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        assert Bm25(tmp_path / "a b?#.db").search("fdisk", 1)
        assert [path.name for path in tmp_path.iterdir()] == ["a b?#.db"]
    finally:
        tmp_path.chmod(0o755)
