"""The items of parity: a prompt and the tokens that are forced after it, from pairs or from documents."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import RecordError, SourceError
from ..prompt import Prompter, ask, conversation
from ..records.digest import canonical, digest
from .items import choose, items

CONTINUATION = 24  # tokens: enough to see a fault in each layer's cache, few enough to force one by one
PASSAGE_WORDS = 160  # as long as a passage that grounding would show


@dataclass(frozen=True, slots=True)
class Forced:
    """Token ids of a prompt and of what is forced after it; `logprobs` in nats by torch."""

    id: str
    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    logprobs: tuple[float, ...] = ()


def from_pairs(
    prompter: Prompter, rows: Sequence[Mapping[str, Any]], count: int, *, seed: int
) -> list[Forced]:
    """The right answers of `count` pairs, the end token included, after their own prompts."""
    pool = [item for item in items(rows) if item.stratum != "absent"]
    found = []
    for item in choose(pool, count, seed=seed):
        *read, wrote = prompter.turns(conversation(item.pair))
        prompt = tuple(token for turn in read for token in turn.ids)
        found.append(Forced(item.id, prompt, wrote.ids[: CONTINUATION + 1]))
    return found


def from_documents(
    prompter: Prompter, rows: Sequence[Mapping[str, Any]], count: int, *, seed: int
) -> list[Forced]:
    """The next tokens of `count` passages, after a prompt that shows their first half."""
    found = []
    pool = sorted(
        (row for row in rows if row["text"].strip()), key=lambda row: digest("document", [seed, row["id"]])
    )
    for at in range(count if pool else 0):
        row = pool[at % len(pool)]
        text: str = row["text"]
        # Another part of the document each time around; characters stand for words in Chinese as in English.
        start = (at // len(pool)) * PASSAGE_WORDS * 4 % max(1, len(text))
        passage = text[start : start + PASSAGE_WORDS * 4]
        half = len(passage) // 2
        rest = prompter.encode(passage[half:])[:CONTINUATION]
        if rest:
            prompt = prompter.prompt(ask(row.get("title") or row["id"], [passage[:half]]))
            found.append(Forced(f"{row['id']}#{at}", tuple(prompt), tuple(rest)))
    return found


def choose_forced(prompter: Prompter, corpus: Path, count: int, *, seed: int) -> tuple[list[Forced], str]:
    """The items of parity from a corpus's folder, and where they come from ("pairs" or "documents").

    Raises SourceError when the corpus has neither.
    """
    from .items import read_jsonl

    pairs = read_jsonl(corpus / "pairs.select.jsonl")
    found = from_pairs(prompter, pairs, count, seed=seed)
    if found:
        return found, "pairs"
    found = from_documents(prompter, read_jsonl(corpus / "documents.jsonl"), count, seed=seed)
    if not found:
        raise SourceError(
            "the corpus has neither pairs nor documents to measure a model on", where=str(corpus)
        )
    return found, "documents"


def save(path: Path, forced: Sequence[Forced]) -> None:
    """Write items as canonical JSON."""
    path.write_bytes(canonical({"items": [asdict(item) for item in forced]}))


def load(path: Path) -> list[Forced]:
    """Items as `save` wrote them. Raises RecordError for anything else."""
    try:
        rows = json.loads(path.read_text("utf-8"))["items"]
        return [Forced(r["id"], tuple(r["prompt"]), tuple(r["answer"]), tuple(r["logprobs"])) for r in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"the forced items cannot be read: {error}", where=path.name) from None
