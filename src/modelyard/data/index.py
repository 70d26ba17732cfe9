"""data.index: a corpus in; its passages as a search index out, with the score limit for NOT STATED."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import intervals
from ..errors import SourceError
from ..index import Bm25, Calibration, Passage, answerable_limit, build, cut
from ..prompt import NOT_STATED
from ..records.shapes import Choice, Fact, Inputs, Output, Workspace
from .clean import stands_in
from .language import language
from .settings import IndexSettings

_REPORT_EVERY = 50  # documents


def run(settings: IndexSettings, inputs: Inputs, workspace: Workspace) -> Output:
    """Make the Index of a Corpus. Raises SourceError when the Corpus holds no document."""
    corpus = inputs.one("corpus").folder
    ground = settings.ground
    languages: Counter[str] = Counter()
    passages: list[Passage] = []
    for done, row in enumerate(_rows(corpus / "documents.jsonl"), 1):
        languages[language(row["text"])] += 1
        pieces = cut(row["text"], ground.passage_tokens)
        passages += [
            Passage(row["id"], row["title"], piece.heading, piece.text, row["licence"], row["owner"])
            for piece in pieces
        ]
        if done % _REPORT_EVERY == 0:
            workspace.report("cut into passages", done=done, passages=len(passages))
    if not passages:
        raise SourceError(
            "there is no document to index",
            where="data.sources",
            try_="a source with documents, or a project without `ground`",
        )
    build(workspace.out / "passages.db", passages)
    index = Bm25(workspace.out / "passages.db")
    try:
        workspace.report("calibrate the score limit")
        calibration = answerable_limit(index, ground.false_accept, settings.seed, ground.passages)
        hit = _hit(index, corpus / "pairs.select.jsonl", settings)
    finally:
        index.close()
    about = {
        "calibration": None if calibration is None else asdict(calibration),
        "documents": sum(languages.values()),
        "languages": dict(languages),
        "limit": None if calibration is None else calibration.limit,
        "passage_tokens": ground.passage_tokens,
        "passages": len(passages),
        "score": "share of squared idf covered",
    }
    text = json.dumps(about, ensure_ascii=False, sort_keys=True, allow_nan=False, indent=2)
    (workspace.out / "index.json").write_text(text + "\n", "utf-8", newline="\n")
    return Output(
        {
            "index.passages": Fact(len(passages), "passages", n=sum(languages.values())),
            "retrieval.hit": hit,
            **_limit_facts(calibration),
        },
        (_limit_choice(calibration, settings),),
    )


def _hit(index: Bm25, path: Path, settings: IndexSettings) -> Fact:
    """Share of answerable questions for which a retrieved passage of their document holds the answer."""
    groups: list[str] = []
    found: list[bool] = []
    for pair in _rows(path) if path.is_file() else ():
        if not pair.get("document") or pair.get("answer") in (None, NOT_STATED) or pair.get("absent"):
            continue
        hits = index.search(pair["question"], settings.ground.passages)
        groups.append(pair["group"])
        found.append(any(h.document == pair["document"] and stands_in(pair["answer"], h.text) for h in hits))
    if not found:
        return Fact(None, "share", why="no answerable pair of select names its document")
    hit = intervals.share([float(one) for one in found], groups, seed=settings.seed)
    return Fact(hit.value, "share", n=hit.groups, low=hit.low, high=hit.high, level=intervals.LEVEL)


def _limit_facts(calibration: Calibration | None) -> dict[str, Fact]:
    if calibration is None:
        why = "the documents have too few headings to ask about"
        return {
            "index.score_limit": Fact(None, "score", why=why),
            "index.false_accept": Fact(None, "share", why=why),
        }
    c = calibration
    return {
        "index.score_limit": Fact(c.limit, "score", n=c.queries),
        "index.false_accept": Fact(
            c.false_accept,
            "share",
            n=c.groups,
            low=c.low,
            high=c.high,
            level=intervals.LEVEL,
            why=f"{c.queries} questions made from headings; each met a limit chosen without it",
        ),
    }


def _limit_choice(calibration: Calibration | None, settings: IndexSettings) -> Choice:
    if calibration is None:
        return Choice("score_limit", "none", "too few headings to ask about: NOT STATED is left to the model")
    c, most = calibration, settings.ground.false_accept
    return Choice(
        "score_limit",
        f"{c.limit:.3f}",
        f"at most {most:.0%} of {c.queries} questions made from headings reach it with their {c.left_out} "
        f"left out; of those that a limit was not chosen on {c.false_accept:.1%} do ({c.low:.1%} to "
        f"{c.high:.1%}), and {c.accepted:.1%} with all in place and only the text looked at",
    )


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)
