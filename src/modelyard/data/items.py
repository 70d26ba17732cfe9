"""What is read: documents and pairs, and the reasons to leave one out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .split import Part


class Drop(Exception):
    """An item is left out by a rule. `detail` holds no text of the item."""

    def __init__(self, rule: str, detail: str = "") -> None:
        super().__init__(rule)
        self.rule = rule
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Page:
    """A file's text without its wrapping; headings are lines `# Like this` between blank lines."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A document of the corpus. `item` names it in the sheet; `source` is the source's path."""

    id: str
    source: str
    item: str
    title: str
    text: str
    licence: str
    owner: str

    def row(self) -> dict[str, str]:
        """The document as a row of documents.jsonl."""
        return {
            "id": self.id,
            "source": self.source,
            "title": self.title,
            "text": self.text,
            "licence": self.licence,
            "owner": self.owner,
        }


@dataclass(frozen=True, slots=True)
class Pair:
    """A question with its right answer, or a conversation (`messages`, then question and answer are "").

    `rejected`: an answer that people liked less than the right one, or than a conversation's last.
    `generated_by`: the larger model that wrote the answer. `group` is "" until it is known; `part` is the
    side of the split that the row itself names.
    """

    id: str
    source: str
    item: str
    kind: str | None = None
    question: str = ""
    document: str | None = None
    passage: str | None = None
    answer: str = ""
    absent: bool = False
    rejected: str | None = None
    messages: tuple[Mapping[str, str], ...] = ()
    generated_by: str | None = None
    group: str = ""
    part: Part | None = None

    def row(self) -> dict[str, Any]:
        """The pair as a row of pairs.*.jsonl."""
        told = {"id": self.id, "source": self.source, "group": self.group, "kind": self.kind}
        if self.rejected is not None:
            told["rejected"] = self.rejected
        if self.generated_by is not None:
            told["generated_by"] = self.generated_by
        if self.messages:
            return told | {"messages": [dict(message) for message in self.messages]}
        return told | {
            "question": self.question,
            "document": self.document,
            "passage": self.passage,
            "answer": self.answer,
            "absent": self.absent,
        }
