"""Sources as documents and pairs, each item counted in the sheet as it comes in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, TypeVar

from ..errors import SourceError
from ..records.shapes import SourceFiles
from . import pairs as rows
from .clean import clean
from .items import Document, Drop, Pair
from .pairs import Shape
from .questions import open_shape
from .readers import ROWS, read_page, suffix
from .readers.jsonl import Line
from .readers.jsonl import rows as lines
from .settings import PrepareSettings, Source
from .sheet import Kind, Sheet
from .split import part_named
from .written import Answer, Written
from .written import pair as answered

# Rules that say that nobody could read the item at all, as against one that was read and left out.
_UNREADABLE = """
unknown_type broken_gzip too_large binary bad_encoding broken_line not_an_object unknown_shape
"""
UNREADABLE = frozenset(_UNREADABLE.split())

_REPORT_EVERY = 50  # files; telling each of thousands would cost more than reading it

_EMPTY_HEADING = re.compile(r"^#{1,6}[ \t]*$", re.MULTILINE)


@dataclass(slots=True)
class Read:
    """What the sources hold, before anything is compared; ids are unique."""

    documents: list[Document] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)

    def names(self) -> dict[str, str]:
        """Document ids by every name that a pair may call them: id, path with source, name without ending."""
        stems = Counter(_stem(document.id) for document in self.documents)
        found: dict[str, str] = {}
        for document in self.documents:
            found[document.id] = document.id
            found.setdefault(f"{document.source}/{document.item}", document.id)
            if stems[_stem(document.id)] == 1:
                found.setdefault(_stem(document.id), document.id)
        return found


def read_sources(
    settings: PrepareSettings,
    sources: Sequence[SourceFiles],
    written: Sequence[Written | None],
    sheet: Sheet,
    report: Callable[..., None],
) -> Read:
    """Read every file, with the answers that were `written` for a source.

    Raises SourceError when there is no file, or nothing of a source can be read.
    """
    total = sum(len(files.files) for files in sources)
    if not total:
        raise SourceError(
            "the sources hold no file",
            where=", ".join(source.path for source in settings.sources),
            try_="a folder with .txt, .md, .html or .jsonl files",
        )
    read = Read()
    done = 0
    for source, files, answers in zip(settings.sources, sources, written, strict=True):
        before = len(sheet.dropped)
        reader = _Reader(source, files, answers, settings, sheet)
        for name in sorted(files.files):
            reader.file(name, read)
            done += 1
            if done % _REPORT_EVERY == 0 or done == total:
                report("read", done=done, total=total)
        if not reader.readable:
            _refuse(source, sheet.dropped[before:])
    return Read(_with_unique_ids(read.documents), _with_unique_ids(read.pairs))


class _Reader:
    """Reads one source into a Read."""

    def __init__(
        self,
        source: Source,
        files: SourceFiles,
        written: Written | None,
        settings: PrepareSettings,
        sheet: Sheet,
    ) -> None:
        self._source = source
        self._files = files
        self._written = written
        self._by = settings.hold_out.by
        self._sheet = sheet
        self.readable = not files.files

    def file(self, name: str, read: Read) -> None:
        if suffix(name) == ROWS:
            for line in lines(self._files.path(name)):
                self._row(name, line, read)
            return
        self._sheet.ingest(self._source.path, "documents")
        try:
            page = read_page(self._files.path(name), name)
            read.documents.append(self._document(name, name, page.title, page.text))
            self.readable = True
        except Drop as drop:
            self._drop("documents", name, drop)

    def _row(self, name: str, line: Line, read: Read) -> None:
        item = f"{name}:{line.number}"
        fields = self._source.fields
        if self._written is not None and line.row is not None:
            open_ = open_shape(line.row, fields)
            if open_ is not None:
                self._answered(self._written.answers(item), item, line.row, open_, read)
                return
        shape = rows.shape(line.row, fields) if line.row is not None else None
        kind: Kind = "rows" if shape is None else "documents" if shape == "document" else "pairs"
        self._sheet.ingest(self._source.path, kind)
        if line.row is None or shape is None:
            rule = line.rule or "unknown_shape"
            self._drop(kind, item, Drop(rule, line.detail or "no field of a document or a pair"))
            return
        self.readable = True
        id = _name(line.row.get(fields.id or "id")) or item
        try:
            if shape == "document":
                text, title = line.row[fields.text or "text"], _name(line.row.get("title")) or id
                if not isinstance(text, str):
                    raise Drop("not_text", f"the text is {type(text).__name__}")
                read.documents.append(self._document(id, item, title, text))
            else:
                made = rows.pair(line.row, shape, fields, id=id, source=self._source.path, item=item)
                read.pairs.append(
                    replace(made, group=self._group(line.row), part=part_named(line.row.get("split")))
                )
        except Drop as drop:
            self._drop(kind, item, drop)

    def _answered(
        self, answers: Sequence[Answer], item: str, row: Mapping[str, Any], shape: Shape, read: Read
    ) -> None:
        """A row that a larger model has answered, once or several times: as many pairs, in one group."""
        self.readable = True
        fields = self._source.fields
        id = _name(row.get(fields.id or "id")) or item
        group = self._group(row) or (id if len(answers) > 1 else "")
        for answer in answers:
            ending = f"#{answer['sample'] + 1}" if len(answers) > 1 else ""
            self._sheet.ingest(self._source.path, "pairs")
            made = Pair(id=id + ending, source=self._source.path, item=item + ending)
            try:
                made = answered(row, shape, fields, answer, made)
                read.pairs.append(replace(made, group=group, part=part_named(row.get("split"))))
            except Drop as drop:
                self._drop("pairs", made.item, drop)

    def _document(self, id: str, item: str, title: str, text: str) -> Document:
        text = clean(text)
        if not _EMPTY_HEADING.sub("", text).strip():
            raise Drop("empty_document")
        source = self._source
        title = " ".join(clean(title).split())
        return Document(id, source.path, item, title, text, source.licence, source.owner)

    def _group(self, row: Mapping[str, Any]) -> str:
        return _name(row.get(self._by)) or _name(row.get("group"))

    def _drop(self, kind: Kind, item: str, drop: Drop) -> None:
        self._sheet.drop(self._source.path, kind, item, drop.rule, drop.detail)
        self.readable = self.readable or drop.rule not in UNREADABLE


def _refuse(source: Source, dropped: Sequence[Mapping[str, str]]) -> None:
    first = (
        dropped[0] if dropped else {"item": source.path, "rule": "no line", "detail": "the files are empty"}
    )
    raise SourceError(
        f"nothing of {source.path} can be read: {len(dropped)} items, the first is {first['item']}: "
        f"{first['rule'].replace('_', ' ')}" + (f" ({first['detail']})" if first["detail"] else ""),
        where=f"{source.path}: {first['item']}",
        try_="text, Markdown, HTML or JSON Lines, in UTF-8; `fields:` of the source names other fields",
    )


def _name(value: Any) -> str:
    """A field that names something, as text; "" where it does not."""
    return " ".join(clean(str(value)).split()) if isinstance(value, str | int) and value is not True else ""


def _stem(id: str) -> str:
    name = id.removesuffix(".gz")
    return str(PurePosixPath(name).with_suffix("")) if PurePosixPath(name).name else name


Item = TypeVar("Item", Document, Pair)


def _with_unique_ids(items: Sequence[Item]) -> list[Item]:
    """Items whose id another has too take the place that they were read from, which is unique."""
    counts = Counter(item.id for item in items)
    return [
        item if counts[item.id] == 1 else replace(item, id=f"{item.source}/{item.item}") for item in items
    ]
