"""data.prepare: sources in; a corpus out, with a data sheet in which nothing vanishes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import SourceError
from ..records.shapes import Choice, Fact, Inputs, Output, Workspace
from . import licences, terms
from .clean import same
from .duplicates import leaks, near_duplicates
from .items import Document, Drop, Pair
from .pairs import check_extract
from .reading import Read, read_sources
from .redact import Redactor
from .settings import PrepareSettings
from .sheet import Sheet
from .split import PARTS, Part, assign
from .written import Written, written

# The parts that lose a pair which says what one of a later part says, in this order.
_GIVE_WAY: tuple[Part, ...] = ("select", "train")


def run(settings: PrepareSettings, inputs: Inputs, workspace: Workspace) -> Output:
    """Make the Corpus. Raises SourceError for a source that cannot be used and for an empty corpus."""
    for source in settings.sources:
        licences.check(source)
        if source.answers is not None:
            terms.check(source.path, source.answers)
    made = iter(inputs.all("answers"))
    answers = [written(next(made), source.answers) if source.answers else None for source in settings.sources]
    redactor = Redactor(settings.redact, settings.phone_region)
    sheet = Sheet(lambda text: redactor.redact(text)[0])
    read = read_sources(settings, inputs.sources, answers, sheet, workspace.report)

    workspace.report("redact and deduplicate", done=0, total=len(read.documents) + len(read.pairs))
    documents, names = _documents(read, settings, redactor, sheet)
    pairs = _pairs(read, settings, redactor, sheet, names)
    if not documents and not pairs:
        _refuse_empty(sheet)
    choices: list[Choice] = []
    parts: dict[Part, list[Pair]] = {part: [] for part in PARTS}
    if pairs:
        workspace.report("split", done=len(documents) + len(pairs), total=len(documents) + len(pairs))
        pairs, lonely = _grouped(pairs)
        choices += _choices(pairs, lonely, documents, settings)
        parts = _split(pairs, settings, sheet)
        if any(answers):
            choices.append(_generated(parts))
    elif sheet.ingested("pairs"):
        raise SourceError(f"every pair was dropped:\n{sheet.table()}", try_="dropped.jsonl names each item")
    for document in documents:
        sheet.keep(document.source, "documents")
    for part in PARTS:
        for pair in parts[part]:
            sheet.keep(pair.source, "pairs")
    _write(workspace.out, settings, answers, sheet, documents, parts)
    facts = _facts(sheet, documents, parts)
    if any(answers):
        facts["data.pairs.generated"] = Fact(sum(_written_in(parts[part]) for part in PARTS), "pairs")
    return Output(facts, tuple(choices))


def _documents(
    read: Read, settings: PrepareSettings, redactor: Redactor, sheet: Sheet
) -> tuple[list[Document], dict[str, str]]:
    """The documents to keep, and the id of the kept document for every name that a pair may use."""
    made: list[Document] = []
    first: dict[str, Document] = {}
    names = {name: redactor.name(id) for name, id in read.names().items()}
    for document in read.documents:
        text, places = redactor.redact(document.text)
        title, more = redactor.redact(document.title)
        document = replace(document, id=redactor.name(document.id), title=title, text=text)
        twin = first.setdefault(same(text), document)
        if twin is not document:
            sheet.drop(document.source, "documents", document.item, "duplicate_document", f"of {twin.id}")
            names[document.id] = twin.id
            continue
        sheet.redacted[document.source] += places + more
        made.append(document)
    # What a pair cites stays: two things may be told in nearly the same words.
    cited = {_kept(names, pair.document) for pair in read.pairs if pair.document}
    gone = set()
    for near in near_duplicates([document.text for document in made], settings.near_duplicate):
        document, twin = made[near.at], made[near.other]
        if document.id in cited:
            continue
        detail = f"{near.similarity:.2f} like {twin.id}"
        sheet.drop(document.source, "documents", document.item, "near_duplicate_document", detail)
        gone.add(near.at)
    return [document for at, document in enumerate(made) if at not in gone], names


def _kept(names: Mapping[str, str], name: str) -> str | None:
    """The id of the document that stands for `name`, which may be an alias of a duplicate."""
    if name not in names:
        return None
    while names.get(name, name) != name:
        name = names[name]
    return name


def _pairs(
    read: Read, settings: PrepareSettings, redactor: Redactor, sheet: Sheet, names: Mapping[str, str]
) -> list[Pair]:
    made: list[Pair] = []
    first: dict[tuple[str, ...], Pair] = {}
    for pair in read.pairs:
        redacted, places = redactor.pair(pair)
        try:
            if settings.extract:  # a larger model has seen the markers and not what stood there
                check_extract(redacted if pair.generated_by else pair)
        except Drop as drop:
            sheet.drop(pair.source, "pairs", pair.item, drop.rule, drop.detail)
            continue
        pair = redacted
        document = pair.document and (_kept(names, pair.document) or redactor.name(pair.document))
        group = document if settings.hold_out.by == "document" and document else redactor.name(pair.group)
        pair = replace(
            pair,
            id=redactor.name(pair.id),
            kind=pair.kind and redactor.name(pair.kind),
            document=document,
            group=group,
        )
        if pair.messages:
            key = tuple(same(f"{m['role']} {m['content']}") for m in pair.messages)
        else:
            key = (same(pair.question), same(pair.passage or ""), same(pair.answer))
        key += (same(pair.rejected or ""),)
        twin = first.setdefault(key, pair)
        if twin is not pair:
            sheet.drop(pair.source, "pairs", pair.item, "duplicate_pair", f"of {twin.item}")
            continue
        sheet.redacted[pair.source] += places
        made.append(pair)
    return made


def _grouped(pairs: Sequence[Pair]) -> tuple[list[Pair], int]:
    """The pairs, each in a group (its own where it has none), and how many had none."""
    lonely = sum(not pair.group for pair in pairs)
    return [pair if pair.group else replace(pair, group=pair.id) for pair in pairs], lonely


def _named(pairs: Sequence[Pair], settings: PrepareSettings) -> dict[str, Part]:
    """The part that the rows of a group name in their field `split`."""
    named: dict[str, Part] = {}
    for pair in pairs:
        if pair.part and named.setdefault(pair.group, pair.part) != pair.part:
            raise SourceError(
                f"the rows of one group name two sides of the split: {named[pair.group]} and {pair.part}",
                where=f"{pair.source}: {pair.item}, field 'split'",
                try_=f"one side for all rows with the same {settings.hold_out.by!r}, or rows without 'split'",
            )
    return named


def _split(pairs: Sequence[Pair], settings: PrepareSettings, sheet: Sheet) -> dict[Part, list[Pair]]:
    part_of = assign(
        {pair.group for pair in pairs}, settings.hold_out, settings.seed, _named(pairs, settings)
    )
    parts: dict[Part, list[Pair]] = {part: [] for part in PARTS}
    for pair in pairs:
        parts[part_of[pair.group]].append(pair)
    against: list[Pair] = list(parts["report"])
    for part in _GIVE_WAY:
        gone = set()
        for near in leaks(parts[part], against, settings.near_duplicate):
            pair = parts[part][near.at]
            detail = f"{near.similarity:.2f} like {against[near.other].item}"
            sheet.drop(pair.source, "pairs", pair.item, f"near_duplicate_in_{part}", detail)
            gone.add(near.at)
        parts[part] = [pair for at, pair in enumerate(parts[part]) if at not in gone]
        against += parts[part]
    empty = [part for part in PARTS if not parts[part]]
    if empty:
        raise SourceError(
            f"no pair is left to {' and to '.join(empty)} without near-duplicates across the split:\n"
            + sheet.table(),
            where="task.hold_out",
            try_="more varied pairs, another field to group by, or a larger near_duplicate",
        )
    return parts


def _choices(
    pairs: Sequence[Pair], lonely: int, documents: Sequence[Document], settings: PrepareSettings
) -> list[Choice]:
    groups = len({pair.group for pair in pairs})
    by = settings.hold_out.by
    why = f"{len(pairs):,} pairs by {by!r}"
    if lonely:
        why += f"; {lonely:,} rows have no {by!r} and no 'group', so each of them stands alone"
    found = [Choice("groups", f"{groups:,}", why)]
    named = len({pair.group for pair in pairs if pair.part})
    if named:
        found.append(Choice("split", f"{named:,} groups named", "their rows name a side of the split"))
    known = {document.id for document in documents}
    strange = sum(pair.document is not None and pair.document not in known for pair in pairs)
    if strange and documents:
        found.append(
            Choice(
                "pairs_without_document",
                f"{strange:,}",
                "their document is none of the corpus, so no retrieval hit",
            )
        )
    return found


def _written_in(pairs: Sequence[Pair]) -> int:
    return sum(pair.generated_by is not None for pair in pairs)


def _generated(parts: Mapping[Part, Sequence[Pair]]) -> Choice:
    """How many pairs a larger model wrote, and what that makes of the scores."""
    told = ", ".join(f"{part} {_written_in(parts[part]):,} of {len(parts[part]):,}" for part in PARTS)
    judged = _written_in(parts["select"]) + _written_in(parts["report"])
    why = "none of them is scored on"
    if judged:
        why = "where they are scored on, the score is agreement with the larger model"
    return Choice("generated", told, why)


def _refuse_empty(sheet: Sheet) -> None:
    if sheet.dropped:
        raise SourceError(
            f"every item was dropped:\n{sheet.table()}",
            try_="sources with text in them; the table tells which rule dropped how many",
        )
    raise SourceError("the corpus is empty: the sources hold no item", try_="files with text in them")


def _facts(
    sheet: Sheet, documents: Sequence[Document], parts: Mapping[Part, Sequence[Pair]]
) -> dict[str, Fact]:
    facts = {
        "data.documents": Fact(len(documents), "documents", n=len(documents)),
        "data.dropped": Fact(len(sheet.dropped), "items", n=len(sheet.dropped)),
        "data.redacted": Fact(sum(sheet.redacted.values()), "places"),
    }
    for part in PARTS:
        facts[f"data.pairs.{part}"] = Fact(
            len(parts[part]), "pairs", n=len({pair.group for pair in parts[part]})
        )
    return facts


def _write(
    out: Path,
    settings: PrepareSettings,
    answers: Sequence[Written | None],
    sheet: Sheet,
    documents: Sequence[Document],
    parts: Mapping[Part, Sequence[Pair]],
) -> None:
    _write_rows(out / "documents.jsonl", (document.row() for document in documents))
    for part in PARTS:
        _write_rows(out / f"pairs.{part}.jsonl", (pair.row() for pair in parts[part]))
    _write_rows(out / "dropped.jsonl", sheet.dropped)
    rights = [
        {"path": source.path, "licence": source.licence, "owner": source.owner, "basis": source.basis}
        for source in settings.sources
    ]
    rows = sheet.rows(settings.sources)
    everything = [pair for part in PARTS for pair in parts[part]]
    for right, row, told in zip(rights, rows, answers, strict=True):
        if told is not None:
            mine = [pair for pair in everything if pair.source == row["source"]]
            row["answers"] = {**told.generator, "pairs": _written_in(mine)}
            right["answers"] = row["answers"]
    _write_json(out / "sources.json", {"sources": rights})
    groups = {part: len({pair.group for pair in parts[part]}) for part in PARTS}
    kinds = {part: dict(Counter(pair.kind or "" for pair in parts[part])) for part in PARTS}
    _write_json(
        out / "sheet.json",
        {
            "sources": rows,
            "dropped": dict(sheet.rules()),
            "documents": len(documents),
            "pairs": {part: len(parts[part]) for part in PARTS},
            "groups": groups,
            "kinds": kinds,
        },
    )


def _write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False, sort_keys=True, allow_nan=False) + "\n")


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False, indent=2)
    path.write_text(text + "\n", "utf-8", newline="\n")
