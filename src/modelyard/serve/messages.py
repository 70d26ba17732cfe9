"""What a client says: the messages of a chat, or a completion's prompt, as plain texts."""

from __future__ import annotations

from typing import Any

from .refusals import invalid

Message = dict[str, str]

MOST_MESSAGES = 2048
# What a reply of ours carries, so that a client may send it back as it came.
OURS = {"annotations", "audio", "function_call", "refusal", "tool_calls"}


def messages(value: Any, param: str) -> tuple[Message, ...]:
    """The messages of a chat: role and text each. Raises Refusal naming the place."""
    if not isinstance(value, list) or not value or len(value) > MOST_MESSAGES:
        raise invalid(f"{param} is a list of 1 to {MOST_MESSAGES} messages", param)
    return tuple(_message(one, f"{param}[{at}]") for at, one in enumerate(value))


def _message(value: Any, at: str) -> Message:
    if not isinstance(value, dict):
        raise invalid("a message is a JSON object", at)
    role = value.get("role")
    if role in ("tool", "function"):
        raise invalid(f"the role {role} is not supported here", f"{at}.role", "unsupported_value")
    if role not in ("system", "developer", "user", "assistant"):
        raise invalid("role is system, developer, user or assistant", f"{at}.role")
    for name, inner in value.items():
        if name in ("role", "content") or inner is None or inner == []:
            continue
        if role == "assistant" and name == "annotations":
            continue
        known = name in OURS or name == "name"
        where = f"{at}.{name}" if known else at
        raise invalid("a message has a role and a content here, nothing else", where, "unsupported_parameter")
    content = value.get("content")
    if content is None and role == "assistant":
        content = ""
    # SmolLM2's and most other templates know no developer; OpenAI's own API treats the two alike.
    return {"role": "system" if role == "developer" else role, "content": _content(content, f"{at}.content")}


def _content(value: Any, at: str) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        raise invalid("content is a text or a list of parts", at)
    parts = []
    for place, part in enumerate(value):
        where = f"{at}[{place}]"
        if not isinstance(part, dict):
            raise invalid("a part is a JSON object", where)
        if part.get("type") != "text":
            raise invalid("only parts of type text are supported here", f"{where}.type", "unsupported_value")
        if not isinstance(part.get("text"), str) or set(part) != {"type", "text"}:
            raise invalid("a part of type text has a text and nothing else", where)
        parts.append(part["text"])
    return "\n".join(parts)


def prompt(value: Any, param: str) -> str | tuple[int, ...]:
    """A completion's prompt: a text, or token ids; a list of one of them is it. Raises Refusal."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str | list):
        value = value[0]
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(type(one) is int and one >= 0 for one in value):
        return tuple(value)
    raise invalid(
        f"{param} is one text, or one list of token ids; several prompts are several requests", param
    )
