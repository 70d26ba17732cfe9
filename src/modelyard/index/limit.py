"""The score below which nothing found states the answer, calibrated from the documents' own headings.

A heading makes a question that its own document answers. With that document left out, the same question is
about something absent, and whatever is found then must score below the limit. That holds for a heading with
a term that no other document has; what other documents name too, they may answer, and accepting it would be
no mistake (with headings of all kinds as few as 4% of real questions passed).

The limit is chosen on all questions, and on these it does what it was chosen for. So what is reported is
cross-fitted: each question meets a limit that was chosen without its document.

What the score should be was tried on four sets of documents (Debian's manual in English, in Chinese, in both
together, both with 54 pages of Python) and 50 questions by hand that they answer, 35 that they do not, and on
6,161 docstrings with 300 and 200 such questions made by program. At 5% false accepts by headings, the share
of answerable questions accepted (mean of the five), and the last set alone:
share of squared idf covered 0.80, 0.91; share of idf 0.70, 0.65; BM25 over the most it could be 0.68, 0.46.
Questions that nothing answers: none of those by hand (by the first, one of 35 in the largest set); 7%, 3% and
3% of those made by program. BM25 itself, and over the root of the sum of idf, did worse than these.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from .bm25 import Bm25
from .passages import length
from .tokens import query_terms

MOST_QUERIES = 400  # at 5% the false accepts are then known to about two points either way
FEWEST_QUERIES = 20  # with fewer, 5% is less than one question
FEWEST_DOCUMENTS = 10  # with fewer, leaving one out leaves too little; sections are left out instead
FOLDS = 10  # so that each limit is chosen on nearly as many questions as the final one
LONGEST_HEADING = 12  # words or Chinese characters; longer ones are sentences, not names of things

_NUMBER = re.compile(
    r"^(?:第\s*\w+\s*[章节節]|(?:chapter|appendix|part)\s+\w+\b|(?:\d+\.)+\d*|\d+)[.:、]?\s*", re.IGNORECASE
)
_HAN = re.compile("[\u3400-\u9fff]")
_KANA = re.compile("[\u3041-\u30ff]")


@dataclass(frozen=True, slots=True)
class Query:
    """A question made of a heading; `unit` holds the passage ids to leave out so that it is about nothing."""

    text: str
    document: str
    unit: range


@dataclass(frozen=True, slots=True)
class Calibration:
    """A score limit, and what limits chosen in the same way do to questions that they were not chosen on.

    `false_accept`: share of questions above the limit with their unit left out, `low` to `high` its 95%
    interval by groups. `accepted`: share above the limit with everything in place, by the text under the
    headings alone, since these hold the question's own words.
    """

    limit: float
    false_accept: float
    low: float
    high: float
    accepted: float
    queries: int
    groups: int  # documents, or questions that stand for themselves where too few documents have any
    left_out: str  # "document" or "section"


def queries(index: Bm25, seed: int = 0) -> tuple[list[Query], str]:
    """At most MOST_QUERIES questions made of headings with a term that nothing else has, in random order.

    Returns them and what each leaves out: "document" or "section".
    """
    documents = index.document_rows()
    left_out = "document" if len(documents) >= FEWEST_DOCUMENTS else "section"
    headings = index.headings()
    random.Random(seed).shuffle(headings)
    found: dict[frozenset[str], Query] = {}
    for document, heading, section in headings:
        subject = _NUMBER.sub("", heading).strip(" .:：#¶`*_\"'")
        if not 1 <= length(subject) <= LONGEST_HEADING:
            continue
        query = Query(
            _question(subject), document, documents[document] if left_out == "document" else section
        )
        about = frozenset(query_terms(query.text))
        unknown = len(index.unknown(query.text, query.unit))
        # With every term unknown the score is 0, which tells nothing of a limit.
        if 0 < unknown < len(about) and about not in found:
            found[about] = query
        if len(found) == MOST_QUERIES:
            break
    return list(found.values()), left_out


def answerable_limit(index: Bm25, false_accept: float, seed: int = 0, k: int = 1) -> Calibration | None:
    """The smallest limit that at most `false_accept` of the questions exceed with their unit left out.

    `k` is how many passages are put before a question; the best of them counts.
    None when the documents have fewer than FEWEST_QUERIES headings to ask about.
    """
    from .. import intervals  # numpy only here: a service that searches needs none

    asked, left_out = queries(index, seed)
    if len(asked) < FEWEST_QUERIES:
        return None
    present = [_best(index.scores(query.text, k, headings=False)) for query in asked]
    absent = [_best(index.scores(query.text, k, without=query.unit)) for query in asked]
    groups = [query.document for query in asked]
    if len(set(groups)) < FEWEST_DOCUMENTS:
        groups = [str(at) for at in range(len(asked))]
    limits = _cross_fitted(absent, groups, false_accept, seed)
    wrong = [score >= limit for score, limit in zip(absent, limits, strict=True)]
    share = intervals.share([float(one) for one in wrong], groups, seed=seed)
    return Calibration(
        limit=_limit(absent, false_accept),
        false_accept=share.value,
        low=share.low,
        high=share.high,
        accepted=sum(score >= limit for score, limit in zip(present, limits, strict=True)) / len(present),
        queries=len(asked),
        groups=len(set(groups)),
        left_out=left_out,
    )


def _cross_fitted(
    absent: Sequence[float], groups: Sequence[str], false_accept: float, seed: int
) -> list[float]:
    """For each question the limit that the other folds give; a group never stands on both sides."""
    order = sorted(set(groups))
    random.Random(seed).shuffle(order)
    fold = {group: at % FOLDS for at, group in enumerate(order)}
    limits = [
        _limit(
            [score for score, group in zip(absent, groups, strict=True) if fold[group] != at], false_accept
        )
        for at in range(FOLDS)
    ]
    return [limits[fold[group]] for group in groups]


def _limit(absent: Sequence[float], false_accept: float) -> float:
    return _just_above(sorted(absent, reverse=True)[int(false_accept * len(absent))])


def _best(found: Sequence[tuple[int, float]]) -> float:
    return max((score for _, score in found), default=0.0)


def _just_above(score: float) -> float:
    # Six decimals: the last digits of a BM25 sum differ between machines, and the limit should not.
    return (int(score * 1_000_000) + 1) / 1_000_000


def _question(subject: str) -> str:
    if _KANA.search(subject):
        return f"{subject}とは何ですか"
    return f"什么是{subject}？" if _HAN.search(subject) else f"What is {subject}?"
