import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.errors import RecordError
from modelyard.records.digest import file_sha256
from modelyard.records.store import Store

NAMES = st.text("abcdefgh", min_size=1, max_size=6)


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@settings(max_examples=30)
@given(files=st.dictionaries(NAMES, st.binary(max_size=64), max_size=6))
def test_a_view_gives_back_every_file_that_was_taken(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    root = tmp_path_factory.mktemp("yard")
    store = Store(root)
    out = root / "out"
    out.mkdir()
    taken = store.take(fill(out, files))
    view = Store(root).view(taken)
    assert {p.name: p.read_bytes() for p in view.iterdir()} == files
    assert all(entry.size == len(files[name]) for name, entry in taken.items())


def test_equal_contents_are_kept_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    taken = store.take(fill(tmp_path / "out", {"a": b"same", "deep/b": b"same"}))
    assert taken["a"].sha256 == taken["deep/b"].sha256
    assert len(list(store.contents())) == 1


def test_a_stored_file_is_read_only(tmp_path: Path) -> None:
    store = Store(tmp_path)
    taken = store.take(fill(tmp_path / "out", {"a": b"x"}))
    assert os.stat(store.path(taken["a"].sha256)).st_mode & 0o777 == 0o444


def test_a_changed_content_is_refused_with_its_place(tmp_path: Path) -> None:
    taken = Store(tmp_path).take(fill(tmp_path / "out", {"model.gguf": b"weights"}))
    place = Store(tmp_path).path(taken["model.gguf"].sha256)
    place.chmod(0o644)
    place.write_bytes(b"Weights")
    with pytest.raises(RecordError, match=r"model\.gguf was changed") as error:
        Store(tmp_path).view(taken)
    assert error.value.where == str(place)


def test_a_changed_content_is_refused_although_its_view_stands(tmp_path: Path) -> None:
    taken = Store(tmp_path).take(fill(tmp_path / "out", {"a": b"right"}))
    view = Store(tmp_path).view(taken)
    (view / "a").chmod(0o644)
    (view / "a").write_bytes(b"wrong")
    with pytest.raises(RecordError, match="was changed"):
        Store(tmp_path).view(taken)


def test_a_missing_content_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    taken = store.take(fill(tmp_path / "out", {"a": b"x"}))
    store.drop(taken["a"].sha256)
    with pytest.raises(RecordError, match="lacks the content of a"):
        store.view(taken)


def test_a_taken_file_leaves_no_half_of_itself(tmp_path: Path) -> None:
    store = Store(tmp_path)
    taken = store.take(fill(tmp_path / "out", {"a": b"x" * 100_000}))
    assert file_sha256(store.path(taken["a"].sha256)) == taken["a"].sha256
    assert not list((tmp_path / "store").rglob("*.part"))


def test_a_file_put_in_a_views_place_is_not_given_back(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "a").write_text("right")
    files = Store(tmp_path).take(work)
    view = Store(tmp_path).view(files)
    (view / "a").unlink()
    (view / "a").write_text("wrong")
    assert (Store(tmp_path).view(files) / "a").read_text() == "right"
    (view / "a").unlink()
    assert (Store(tmp_path).view(files) / "a").read_text() == "right"
    assert [path.name for path in view.parent.iterdir()] == [view.name]
