"""Rows of JSONL as pairs: which shape a row has, and what it says.

Told by the fields of each row, in this order (`fields` of a source names other fields): `chosen` and
`rejected`, with or without a `prompt`; `messages`; ShareGPT's `conversations`; `question`; Alpaca's
`instruction`, with `input` put under it; `prompt` and `completion`; `text`, which is a document. Any pair may
name its side in `split`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from ..prompt import NOT_STATED
from .clean import clean, stands_in
from .items import Drop, Pair
from .settings import Fields

Shape = Literal["preference", "messages", "sharegpt", "native", "alpaca", "prompt", "document"]

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}


def shape(row: Mapping[str, Any], fields: Fields) -> Shape | None:
    """The shape of a row, or None when it has none that is known."""
    if "chosen" in row and "rejected" in row:
        return "preference"
    if isinstance(row.get(fields.messages or "messages"), list):
        return "messages"
    if isinstance(row.get("conversations"), list):
        return "sharegpt"
    if (fields.question or "question") in row:
        return "native"
    if "instruction" in row and "output" in row:
        return "alpaca"
    if "prompt" in row and "completion" in row:
        return "prompt"
    return "document" if (fields.text or "text") in row else None


def pair(row: Mapping[str, Any], found: Shape, fields: Fields, *, id: str, source: str, item: str) -> Pair:
    """A row of the shape `found` as a pair, cleaned. Raises Drop when it cannot be learned from."""
    made = Pair(id=id, source=source, item=item, kind=_label(row, "kind"))
    if found == "preference":
        return _preference(made, row)
    if found == "messages":
        return replace(made, messages=_messages(row[fields.messages or "messages"], "role", "content"))
    if found == "sharegpt":
        return replace(made, messages=_messages(row["conversations"], "from", "value"))
    if found == "prompt" and isinstance(row["prompt"], list):
        both = [*row["prompt"], *(row["completion"] if isinstance(row["completion"], list) else [])]
        return replace(made, messages=_messages(both, "role", "content"))
    if found == "prompt":
        return _told(replace(made, question=_text(row, "prompt"), answer=_text(row, "completion")))
    if found == "alpaca":
        # The input is what the instruction works on, not a passage that must hold the answer.
        question = "\n\n".join(part for part in (_text(row, "instruction"), _text(row, "input")) if part)
        return _told(replace(made, question=question, answer=_text(row, "output")))
    return _told(
        replace(
            made,
            question=_text(row, fields.question or "question"),
            document=_label(row, fields.document or "document"),
            passage=_text(row, fields.passage or "passage") or None,
            answer=_text(row, fields.answer or "answer"),
            absent=row.get("absent") is True,
            rejected=_text(row, "rejected") or None,
        )
    )


def _preference(made: Pair, row: Mapping[str, Any]) -> Pair:
    """A prompt with two answers, each a text or messages; without a prompt, both begin with it."""
    if isinstance(row["chosen"], str):
        told = replace(made, question=_text(row, "prompt"), answer=_text(row, "chosen"))
        return _liked_less(_told(told), _text(row, "rejected"))
    prompt, chosen, rejected = ([] if row.get(name) is None else row[name] for name in PREFERENCE)
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    if not all(isinstance(part, list) for part in (prompt, chosen, rejected)):
        raise Drop("not_text", "chosen and rejected are neither both text nor both messages")
    messages, others = (_messages([*prompt, *part], "role", "content") for part in (chosen, rejected))
    if messages[:-1] != others[:-1]:
        raise Drop("broken_messages", "chosen and rejected answer different prompts")
    return _liked_less(replace(made, messages=messages), others[-1]["content"])


PREFERENCE = ("prompt", "chosen", "rejected")


def _liked_less(made: Pair, rejected: str) -> Pair:
    if not rejected:
        raise Drop("empty_answer", "the rejected answer")
    if rejected == (made.messages[-1]["content"] if made.messages else made.answer):
        raise Drop("rejected_is_chosen")
    return replace(made, rejected=rejected)


def check_extract(made: Pair) -> None:
    """Raise Drop when the answer of a pair with a passage is not a span of it."""
    if made.passage and made.answer != NOT_STATED and not stands_in(made.answer, made.passage):
        raise Drop("answer_not_in_passage")


def _told(made: Pair) -> Pair:
    if not made.question:
        raise Drop("empty_question")
    if not made.answer:
        raise Drop("empty_answer")
    return made


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Drop("not_text", f"field {name!r} holds {type(value).__name__}")
    return clean(str(value)).strip()


def _label(row: Mapping[str, Any], name: str) -> str | None:
    value = row.get(name)
    return clean(str(value)).strip() or None if isinstance(value, str | int) else None


def _messages(rows: Sequence[Any], role: str, content: str) -> tuple[Mapping[str, str], ...]:
    made: list[dict[str, str]] = []
    for row in rows:
        if not isinstance(row, dict):
            raise Drop("broken_messages", "a message is no object")
        who = _ROLES.get(str(row.get(role)))
        if who is None:
            raise Drop("unknown_role", "a message is of no role among system, user, assistant")
        said = _content(row.get(content))
        if said:
            made.append({"role": who, "content": said})
    while made and made[-1]["role"] != "assistant":
        made.pop()
    if not made:
        raise Drop("empty_answer")
    if made[0]["role"] == "assistant" or not any(message["role"] == "user" for message in made):
        raise Drop("empty_question")
    return tuple(made)


def _content(value: Any) -> str:
    if isinstance(value, list):  # OpenAI's parts; only text can be learned from here
        if any(not isinstance(part, dict) or not isinstance(part.get("text"), str) for part in value):
            raise Drop("not_text", "a message holds more than text")
        value = "\n".join(part["text"] for part in value)
    if value is not None and not isinstance(value, str):
        raise Drop("not_text", f"a message holds {type(value).__name__}")
    return clean(value or "").strip()
