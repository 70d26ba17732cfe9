"""Every parameter of OpenAI's two completion routes: honoured, or refused with 400 and its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import schema as schemas
from .messages import Message, messages, prompt
from .refusals import invalid

LARGEST_SEED = 2**63 - 1
STOPS = 4  # OpenAI's own limit


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request as it was understood. `messages` of a chat, or a completion's `prompt`."""

    model: str
    messages: tuple[Message, ...] = ()
    prompt: str | tuple[int, ...] = ""
    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stream: bool = False
    include_usage: bool = False
    logprobs: bool = False
    schema: str | None = None
    """A JSON schema as text."""
    given: Mapping[str, str] = field(default_factory=dict)
    """What an engine must give -> the parameter that asks for it."""


Check = Callable[[Any, str], Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: its JSON schema for the OpenAPI document, and what reads it (None: refused by name)."""

    shape: Mapping[str, Any]
    check: Check | None
    why: str = ""


def _whole(least: int, most: int) -> Check:
    def check(value: Any, param: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise invalid(f"{param} is a whole number from {least} to {most}", param)
        return value

    return check


def _number(least: float, most: float, *, above: bool = False) -> Check:
    def check(value: Any, param: str) -> float:
        right = isinstance(value, int | float) and not isinstance(value, bool)
        if not right or not (least < value if above else least <= value) or not value <= most:
            start = "above" if above else "from"
            raise invalid(f"{param} is a number {start} {least:g} to {most:g}", param)
        return float(value)

    return check


def _truth(value: Any, param: str) -> bool:
    if not isinstance(value, bool):
        raise invalid(f"{param} is true or false", param)
    return value


def _only(*allowed: Any) -> Check:
    """Only values that change nothing; any other would have to be ignored."""

    def check(value: Any, param: str) -> Any:
        if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed):
            shown = " or ".join(_shown(one) for one in allowed)
            raise invalid(f"{param} can only be {shown} here", param, "unsupported_value")
        return value

    return check


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _stop(value: Any, param: str) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or len(found) > STOPS:
        raise invalid(f"{param} is a text or a list of at most {STOPS} texts", param)
    if any(not isinstance(one, str) or not one for one in found):
        raise invalid(f"{param} holds texts that are not empty", param)
    return tuple(found)


def _options(value: Any, param: str) -> bool:
    if not isinstance(value, dict):
        raise invalid(f"{param} is a JSON object", param)
    unknown = sorted(set(value) - {"include_usage", "include_obfuscation"})
    if unknown:
        raise invalid(f"unknown parameter {param}.{_name(unknown[0])}", f"{param}.{_name(unknown[0])}")
    if value.get("include_obfuscation"):
        where = f"{param}.include_obfuscation"
        raise invalid(f"{where} is not supported here", where, "unsupported_parameter")
    return _truth(value.get("include_usage", False), f"{param}.include_usage")


def _label(value: Any, param: str) -> None:
    """Accepted and not stored: it names the client's own user."""
    if not isinstance(value, str) or len(value) > 512:
        raise invalid(f"{param} is a text of at most 512 characters", param)


def _labels(value: Any, param: str) -> None:
    """Accepted and not stored."""
    right = isinstance(value, dict) and len(value) <= 16
    if not right or any(not isinstance(one, str) or len(one) > 512 for one in value.values()):
        raise invalid(f"{param} is an object of at most 16 texts, each of at most 512 characters", param)


def _format(value: Any, param: str) -> str | None:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise invalid(f"{param} is an object with a type", param)
    kind = value["type"]
    if kind == "text":
        return None
    if kind == "json_object":
        return schemas.check({"type": "object", "additionalProperties": True}, param)
    if kind != "json_schema":
        raise invalid(f"{param}.type is text, json_object or json_schema", f"{param}.type")
    inner = value.get("json_schema")
    if not isinstance(inner, dict) or "schema" not in inner:
        raise invalid(f"{param}.json_schema has a schema", f"{param}.json_schema")
    return schemas.check(inner["schema"], f"{param}.json_schema.schema")


_INTEGER = {"type": ["integer", "null"], "minimum": 1}
_TEXT = {"type": ["string", "null"]}
_STOP = {"anyOf": [_TEXT, {"type": "array", "items": {"type": "string"}, "maxItems": STOPS}]}
_STREAM = {
    "type": ["object", "null"],
    "properties": {"include_usage": {"type": "boolean"}},
    "additionalProperties": False,
}
_MESSAGES = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "properties": {
            "role": {"enum": ["system", "developer", "user", "assistant"]},
            "content": {"type": "string"},
        },
        "required": ["role", "content"],
    },
}

BOTH = {
    "model": Parameter({"type": "string"}, lambda value, param: _text(value, param)),
    "max_tokens": Parameter(_INTEGER, _whole(1, 1 << 31)),
    "temperature": Parameter({"type": ["number", "null"], "minimum": 0, "maximum": 2}, _number(0, 2)),
    "top_p": Parameter({"type": ["number", "null"], "maximum": 1}, _number(0, 1, above=True)),
    "seed": Parameter({"type": ["integer", "null"]}, _whole(-(2**63), LARGEST_SEED)),
    "stop": Parameter(_STOP, _stop),
    "stream": Parameter({"type": ["boolean", "null"]}, _truth),
    "stream_options": Parameter(_STREAM, _options),
    "n": Parameter({"enum": [1, None]}, _only(1)),
    "user": Parameter(_TEXT, _label),
    "frequency_penalty": Parameter({"enum": [0, None]}, _only(0)),
    "presence_penalty": Parameter({"enum": [0, None]}, _only(0)),
    "logit_bias": Parameter({"enum": [{}, None]}, _only({})),
}
CHAT = BOTH | {
    "messages": Parameter(_MESSAGES, messages),
    "max_completion_tokens": Parameter(_INTEGER, _whole(1, 1 << 31)),
    "metadata": Parameter({"type": ["object", "null"]}, _labels),
    "safety_identifier": Parameter(_TEXT, _label),
    "logprobs": Parameter({"type": ["boolean", "null"]}, _truth),
    "top_logprobs": Parameter({"enum": [0, None]}, _only(0)),
    "response_format": Parameter({"type": ["object", "null"]}, _format),
    "modalities": Parameter({"enum": [["text"], None]}, _only(["text"])),
    "store": Parameter({"enum": [False, None]}, _only(False)),
    "service_tier": Parameter({"enum": ["auto", "default", None]}, _only("auto", "default")),
    "tool_choice": Parameter({"enum": ["none", None]}, _only("none")),
    "function_call": Parameter({"enum": ["none", None]}, _only("none")),
    **{
        name: Parameter({"type": "null"}, None)
        for name in (
            "audio",
            "functions",
            "moderation",
            "parallel_tool_calls",
            "prediction",
            "prompt_cache_key",
            "prompt_cache_options",
            "prompt_cache_retention",
            "reasoning_effort",
            "tools",
            "verbosity",
            "web_search_options",
        )
    },
}
COMPLETION = BOTH | {
    "prompt": Parameter({"anyOf": [{"type": "string"}, {"type": "array"}]}, prompt),
    "logprobs": Parameter({"enum": [0, None]}, _only(0)),
    "best_of": Parameter({"enum": [1, None]}, _only(1)),
    "echo": Parameter({"enum": [False, None]}, _only(False)),
    "suffix": Parameter({"enum": ["", None]}, _only("")),
}


def chat(body: Any) -> Wanted:
    """A body of /v1/chat/completions. Raises Refusal with the parameter's name."""
    found = _read(body, CHAT, "messages")
    given = _needs(found)
    if found.get("logprobs"):
        given["logprobs"] = "logprobs"
    if found.get("response_format"):
        given["json_schema"] = "response_format"
    limits = [found[name] for name in ("max_completion_tokens", "max_tokens") if name in found]
    if len(set(limits)) > 1:
        raise invalid("max_tokens and max_completion_tokens differ", "max_tokens")
    return Wanted(
        messages=found["messages"],
        max_tokens=limits[0] if limits else None,
        logprobs=bool(found.get("logprobs")),
        schema=found.get("response_format"),
        given=given,
        **_shared(found),
    )


def completion(body: Any) -> Wanted:
    """A body of /v1/completions. Raises Refusal with the parameter's name."""
    found = _read(body, COMPLETION, "prompt")
    given = _needs(found)
    if "logprobs" in found:
        given["logprobs"] = "logprobs"
    return Wanted(
        prompt=found["prompt"],
        max_tokens=found.get("max_tokens"),
        logprobs="logprobs" in found,
        given=given,
        **_shared(found),
    )


def _read(body: Any, known: Mapping[str, Parameter], needed: str) -> dict[str, Any]:
    """Every parameter of the body that is not null, checked."""
    if not isinstance(body, dict):
        raise invalid("the body is a JSON object")
    for name in ("model", needed):
        if body.get(name) is None:
            raise invalid(f"{name} is missing", name, "missing_required_parameter")
    found: dict[str, Any] = {}
    for name, value in body.items():
        parameter = known.get(name)
        if parameter is None:
            raise invalid(f"unknown parameter {_name(name)}", _name(name), "unknown_parameter")
        if value is None:
            continue
        if parameter.check is None:
            raise invalid(f"{name} is not supported here", name, "unsupported_parameter")
        found[name] = parameter.check(value, name)
    if "stream_options" in found and not found.get("stream"):
        raise invalid("stream_options needs stream", "stream_options")
    return found


def _shared(found: Mapping[str, Any]) -> dict[str, Any]:
    names = ("model", "temperature", "top_p", "seed", "stop", "stream")
    shared = {name: found[name] for name in names if name in found}
    if "seed" in shared:
        shared["seed"] %= 2**32  # engines take 32 bits: the same seed still gives the same answer
    return shared | {"include_usage": found.get("stream_options", False)}


def _needs(found: Mapping[str, Any]) -> dict[str, str]:
    given = {}
    if found.get("temperature"):
        given["sampling"] = "temperature"
        if "seed" in found:
            given["seed"] = "seed"
    return given


def _text(value: Any, param: str) -> str:
    if not isinstance(value, str):
        raise invalid(f"{param} is a text", param)
    return value


def _name(name: str) -> str:
    """A client's own word for a parameter, cut and made plain: it may be anything, also a prompt."""
    plain = "".join(letter for letter in name[:40] if letter.isalnum() or letter in "_.")
    return plain if plain == name else "(not a name)"
