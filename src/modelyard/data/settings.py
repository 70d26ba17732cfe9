"""Settings of the data room: sources, the task's split, and what its steps are told."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_serializer, model_validator

from ..records.settings import Settings, check_server
from ..records.shapes import Step

ANSWER = Step("data.answer", 1, "modelyard.data.answer:run")
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


class Answers(Settings):
    """A larger model behind an OpenAI-compatible endpoint that writes the answers of a source's questions."""

    url: str
    """Base of its routes, such as http://127.0.0.1:8000/v1; nothing else is called."""
    model: str = Field(min_length=1)
    """Model to ask for, as the endpoint names it."""
    terms: str
    """What holds for its answers: the URL of the terms, or a licence such as Apache-2.0."""
    permits_training: bool | None = None
    """Whether those terms let you train on its answers; nothing is asked until you state true."""
    key_env: str | None = Field(default=None, exclude=True)
    """Environment variable with the endpoint's key; the key itself stands in no file and no record."""
    instructions: str | None = None
    """Words put before each question for the larger model alone."""
    temperature: float | None = Field(default=0.0, ge=0, le=2)
    """0: the likeliest words; null leaves it to the endpoint."""
    max_tokens: int = Field(default=256, ge=1)
    """Longest answer; one that is cut there is dropped."""
    samples: int = Field(default=1, ge=1, le=16)
    """Answers to each question; more than one needs a temperature above 0."""
    at_once: int = Field(default=4, ge=1, le=64, exclude=True)
    """Requests under way at once."""
    timeout_s: float = Field(default=120.0, gt=0, le=3600, exclude=True)
    """Longest wait for one answer."""

    # Checked together, so that a mistake is told without the value: it may be a key in the wrong place.
    @model_validator(mode="after")
    def _fits(self) -> Answers:
        check_server(self.url, self.key_env)
        if self.samples > 1 and self.temperature == 0:
            raise ValueError("samples: several answers need a temperature above 0")
        return self

    @property
    def host(self) -> str:
        """Host and port of the endpoint."""
        return urlsplit(self.url).netloc


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
    answers: Answers | None = Field(default=None, exclude_if=lambda answers: answers is None)
    """Who writes the answers of rows that have a question and none."""


class HoldOut(Settings):
    """How pairs are kept out of tuning: whole groups, never single rows."""

    by: str = "document"
    """Field that groups pairs; rows of one group never stand on both sides of a split."""
    select: float = Field(default=0.1, gt=0, lt=0.5)
    """Share of groups that the search and the gates look at."""
    report: float = Field(default=0.2, gt=0, lt=0.5)
    """Share of groups kept for the one headline score."""


class AnswerSettings(Settings):
    """What data.answer is told."""

    path: str
    """Path of the source, as the project file names it."""
    fields: Fields = Fields()
    answers: Answers
    redact: tuple[Literal["email", "phone"], ...] = ("email", "phone")
    """Personal data replaced by a marker before a question leaves this machine."""
    phone_region: str = "US"
    seed: int = 0

    @field_serializer("answers")
    def _asked(self, answers: Answers) -> dict[str, Any]:
        """What can change an answer: new words about the terms are no reason to ask again."""
        return answers.model_dump(mode="json", exclude={"terms", "permits_training"})


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
