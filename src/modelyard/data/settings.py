"""Settings of the data room: sources, the task's split, and what its two steps are told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ..records.settings import Settings
from ..records.shapes import Step

PREPARE = Step("data.prepare", 2, "modelyard.data.prepare:run")
INDEX = Step("data.index", 1, "modelyard.data.index:run")

Basis = Literal["licence", "contract", "consent", "own", "public_domain", "legitimate_interest"]


class Fields(Settings):
    """Which field of a JSONL row holds what, where the names are not the usual ones."""

    question: str | None = None
    """Field with the question or instruction."""
    answer: str | None = None
    """Field with the right answer."""
    passage: str | None = None
    """Field with the passage that the answer must come from."""
    document: str | None = None
    """Field that names the document of the passage."""
    messages: str | None = None
    """Field with a list of chat messages."""
    text: str | None = None
    """Field with the text of a document."""
    id: str | None = None
    """Field that names the row."""


class Source(Settings):
    """A file or folder to read, with the right to use it."""

    path: str
    """File or folder, relative to the project file."""
    licence: str
    """SPDX identifier, such as CC-BY-4.0, or LicenseRef-NAME for one of your own."""
    owner: str
    """Who holds the rights."""
    basis: Basis
    """Why you may use it: licence, contract, consent, own, public_domain, legitimate_interest."""
    made_by: str | None = None
    """Command that makes the file; named when it is missing."""
    fields: Fields = Fields()
    """Field names of JSONL rows that are not the usual ones."""


class HoldOut(Settings):
    """How pairs are kept out of tuning: whole groups, never single rows."""

    by: str = "document"
    """Field that groups pairs; rows of one group never stand on both sides of a split."""
    select: float = Field(default=0.1, gt=0, lt=0.5)
    """Share of groups that the search and the gates look at."""
    report: float = Field(default=0.2, gt=0, lt=0.5)
    """Share of groups kept for the one headline score."""


class PrepareSettings(Settings):
    """What data.prepare is told."""

    sources: tuple[Source, ...]
    hold_out: HoldOut = HoldOut()
    redact: tuple[Literal["email", "phone"], ...] = ("email", "phone")
    """Personal data replaced by a marker in documents and pairs."""
    near_duplicate: float = Field(default=0.8, ge=0.5, le=1.0)
    """Jaccard similarity of word 5-grams from which two texts count as the same."""
    extract: bool = True
    """Whether an answer must be a span of its passage; so for the task kind extract."""
    phone_region: str = "US"
    """Country whose national phone numbers are recognised without a + in front."""
    seed: int = 0


class Ground(Settings):
    """Answers come from the indexed documents, with citations."""

    passages: int = Field(default=1, ge=1, le=8)
    """Passages put before the question."""
    passage_tokens: int = Field(default=160, ge=32, le=1024)
    """Longest passage, in words and Chinese characters."""
    false_accept: float = Field(default=0.05, gt=0, le=0.5)
    """Share of questions about absent things that may score above the limit."""


class IndexSettings(Settings):
    """What data.index is told."""

    ground: Ground = Ground()
    seed: int = 0


class Task(Settings):
    """What the model is asked to do, and how an answer is scored."""

    kind: Literal["extract", "classify", "chat"] = "extract"
    """extract: the exact span or NOT STATED; classify: one of the answers; chat: free text."""
    score: Literal["exact_match", "f1"] | None = None
    """exact_match for extract and classify, f1 (of words) for chat, unless named."""
    hold_out: HoldOut = HoldOut()
    """Which pairs tuning never sees."""

    @model_validator(mode="after")
    def _score_fits(self) -> Task:
        if self.score == "exact_match" and self.kind == "chat":
            raise ValueError("a chat answer has many right wordings: score it by f1")
        return self
