"""BM25 over SQLite FTS5: one file with the passages, and the terms of each in three columns.

FTS5 sees terms that `tokens.py` made, joined by spaces, so that every language is cut by the same rules
and a question can never be read as FTS5's own syntax.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import RecordError
from .passages import parted
from .tokens import query_terms, terms

FILE, ABOUT = "passages.db", "index.json"

# What FTS5's bm25() puts in place of a negative idf. https://www.sqlite.org/fts5.html#the_bm25_function
_LEAST_IDF = 1e-6

# Terms of a question that are searched for, the rarest of the first MOST_READ that stand in any passage:
# whoever pastes a whole page means its rare words.
MOST_TERMS, MOST_READ = 64, 2048

_TABLES = """
PRAGMA page_size = 4096;
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE passage (
    id INTEGER PRIMARY KEY, document TEXT NOT NULL, title TEXT NOT NULL, heading TEXT NOT NULL,
    text TEXT NOT NULL, licence TEXT NOT NULL, owner TEXT NOT NULL
);
CREATE INDEX passage_document ON passage (document);
CREATE VIRTUAL TABLE terms USING fts5 (
    title, heading, body, content = '', tokenize = "ascii tokenchars '._'"
);
CREATE VIRTUAL TABLE vocabulary USING fts5vocab (terms, 'row');
"""


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document that can be found and cited."""

    document: str
    title: str
    heading: str
    text: str
    licence: str
    owner: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found; `score` is the share of the question that it covers, 0 to 1."""

    document: str
    title: str
    heading: str
    text: str
    licence: str
    owner: str
    score: float


def build(path: Path, passages: Iterable[Passage]) -> int:
    """Write the index file; passages of one document must come together. Returns how many there are.

    The same passages in the same order give the same bytes (for one version of SQLite).
    """
    database = sqlite3.connect(path, isolation_level=None)
    try:
        database.executescript(_TABLES)
        database.execute("BEGIN")
        count = 0
        for count, p in enumerate(passages, 1):
            row = (count, p.document, p.title, p.heading, p.text, p.licence, p.owner)
            database.execute("INSERT INTO passage VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            headings, body = parted(p.text)
            columns = [" ".join(terms(field)) for field in (p.title, headings or p.heading, body)]
            database.execute(
                "INSERT INTO terms (rowid, title, heading, body) VALUES (?, ?, ?, ?)", (count, *columns)
            )
        database.execute("COMMIT")
        database.execute("INSERT INTO terms (terms) VALUES ('optimize')")
    finally:
        database.close()
    return count


class Bm25:
    """An index file opened read-only. One thread at a time.

    `limit` is the score from which a passage is taken to state the answer; None where it could not be
    calibrated. Raises RecordError when the file is missing or no index.
    """

    def __init__(self, path: Path, limit: float | None = None) -> None:
        self.limit = limit
        # immutable: a record's files never change, and SQLite must not look for a journal in its folder.
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        try:
            self._database = sqlite3.connect(uri, uri=True, check_same_thread=False)
            self.passages = int(self._database.execute("SELECT count(*) FROM passage").fetchone()[0])
        except sqlite3.Error as error:
            raise RecordError(
                f"the index cannot be opened: {error}", where=str(path), try_="`up --again data.index`"
            ) from None

    @classmethod
    def load(cls, folder: Path) -> Bm25:
        """The index in a record's folder, with its score limit."""
        try:
            about = json.loads((folder / ABOUT).read_text("utf-8"))
            limit = about["limit"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecordError(
                f"the index's {ABOUT} cannot be read: {error}",
                where=str(folder),
                try_="`up --again data.index`",
            ) from None
        return cls(folder / FILE, None if limit is None else float(limit))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def search(self, question: str, k: int) -> list[Hit]:
        """The at most `k` passages that BM25 puts first, best first. Any text is a question."""
        found = self.scores(question, k)
        marks = ", ".join("?" * len(found))
        rows = self._database.execute(
            f"SELECT id, document, title, heading, text, licence, owner FROM passage WHERE id IN ({marks})",
            [row for row, _ in found],
        )
        passages = {row[0]: Passage(*row[1:]) for row in rows}
        return [_hit(passages[row], score) for row, score in found]

    def stated(self, hits: Sequence[Hit]) -> bool:
        """Whether a hit covers enough of the question to answer from; without a limit, any hit does."""
        return bool(hits) and (self.limit is None or max(hit.score for hit in hits) >= self.limit)

    def scores(
        self, question: str, k: int, *, without: range | None = None, headings: bool = True
    ) -> list[tuple[int, float]]:
        """Passage ids (from 1) in the order of BM25, each with the share of the question that it covers.

        That share, 0 to 1, weighs each term by its squared idf, terms that no passage has included: so it
        means the same for short and long questions (limit.py says what else was tried). `without` leaves
        these ids out as if never indexed; `headings` False looks at the text alone.
        """
        asked = query_terms(question)[:MOST_READ]
        counts = self._counts(asked, without)
        # Known terms first, rarest of them first.
        asked = sorted(asked, key=lambda term: (not counts[term], counts[term], term))[:MOST_TERMS]
        weight = {term: idf * idf for term, idf in self._idf(counts, without).items() if term in set(asked)}
        known = [term for term in asked if counts[term]]
        # A term of more than half of all passages adds nothing, and costs a look at each of them.
        telling = [term for term in known if weight[term] > _LEAST_IDF**2] or known
        if not telling:
            return []
        hole = without or range(0)
        # Titles and headings count like text: of weights from 0 to 4, none found more of 50 questions.
        others = 1.0 if headings else 0.0
        rows = self._database.execute(
            "SELECT rowid FROM terms WHERE terms MATCH ? AND NOT (rowid >= ? AND rowid < ?)"
            " ORDER BY bm25(terms, ?, ?, 1.0), rowid LIMIT ?",
            (_any(telling), hole.start, hole.stop, others, others, k),
        ).fetchall()
        where = "" if headings else "body : "
        most = sum(weight.values())
        return [
            (row, sum(weight[term] for term in telling if self._has(row, f"{where}{_any([term])}")) / most)
            for (row,) in rows
        ]

    def _has(self, row: int, match: str) -> bool:
        found = self._database.execute("SELECT 1 FROM terms WHERE terms MATCH ? AND rowid = ?", (match, row))
        return found.fetchone() is not None

    def document_rows(self) -> dict[str, range]:
        """The passage ids of each document."""
        rows = self._database.execute(
            "SELECT document, min(id), max(id) + 1 FROM passage GROUP BY document ORDER BY min(id)"
        )
        return {document: range(first, end) for document, first, end in rows}

    def headings(self) -> list[tuple[str, str, range]]:
        """Each document's title and headings, with the passage ids of the section under it."""
        rows = self._database.execute("SELECT id, document, title, heading FROM passage ORDER BY id")
        found: list[tuple[str, str, range]] = []
        last = ("", "")
        documents = self.document_rows()
        for row, document, title, heading in rows:
            if document != last[0] and title and title != heading:
                found.append((document, title, documents[document]))
            if heading and (document, heading) == last:
                found[-1] = (document, heading, range(found[-1][2].start, row + 1))
            elif heading:
                found.append((document, heading, range(row, row + 1)))
            last = (document, heading)
        return found

    def unknown(self, question: str, without: range | None = None) -> list[str]:
        """The terms of a question that no passage has."""
        return [term for term, count in self._counts(query_terms(question), without).items() if not count]

    def _idf(self, counts: Mapping[str, int], without: range | None) -> dict[str, float]:
        """Inverse document frequency, as FTS5's bm25() has it; the largest for terms that no passage has."""
        total = self.passages - len(without or ())
        return {
            term: max(math.log((total - count + 0.5) / (count + 0.5)), _LEAST_IDF)
            for term, count in counts.items()
        }

    def _counts(self, terms: Sequence[str], without: range | None) -> dict[str, int]:
        """How many passages have each term."""
        found = {}
        for term in terms:
            row = self._database.execute("SELECT doc FROM vocabulary WHERE term = ?", (term,)).fetchone()
            count = int(row[0]) if row else 0
            if count and without:
                inside = self._database.execute(
                    "SELECT count(*) FROM terms WHERE terms MATCH ? AND rowid >= ? AND rowid < ?",
                    (_any([term]), without.start, without.stop),
                )
                count -= int(inside.fetchone()[0])
            found[term] = count
        return found


def _hit(p: Passage, score: float) -> Hit:
    return Hit(p.document, p.title, p.heading, p.text, p.licence, p.owner, score)


def _any(terms: Sequence[str]) -> str:
    # A term holds no quotation mark, so quoting it is safe.
    return " OR ".join(f'"{term}"' for term in terms)
