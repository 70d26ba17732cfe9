"""What the OpenAPI document says of each route; made from the table of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .parameters import CHAT as CHAT_PARAMETERS
from .parameters import COMPLETION, Parameter

_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
            "required": ["message", "type", "param", "code"],
        }
    },
    "required": ["error"],
}
_OBJECT = {"type": "object"}
_BEARER: list[dict[str, list[str]]] = [{"bearer": []}]


def _answers(*statuses: int, success: Mapping[str, Any] | None = None) -> dict[str, Any]:
    good = success or {"application/json": {"schema": _OBJECT}}
    bad = {"application/json": {"schema": _ERROR}}
    found: dict[str, Any] = {"200": {"description": "Done", "content": good}}
    return found | {str(status): {"description": "Refused", "content": bad} for status in statuses}


def _route(
    *statuses: int,
    success: Mapping[str, Any] | None = None,
    body: Mapping[str, Any] | None = None,
    parameters: list[dict[str, Any]] | None = None,
    open_: bool = False,
) -> dict[str, Any]:
    extra: dict[str, Any] = {"responses": _answers(*statuses, success=success)}
    if body is not None:
        extra["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    if parameters:
        extra["parameters"] = parameters
    if not open_:
        extra["security"] = _BEARER
    return {"openapi_extra": extra, "response_model": None}


def _body(known: Mapping[str, Parameter], *needed: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: dict(parameter.shape) for name, parameter in known.items()},
        "required": list(needed),
        "additionalProperties": False,
    }


_ASK = (400, 401, 403, 404, 408, 409, 413, 429, 503, 504)
_KEY = [
    {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    }
]
_STREAMED = {
    "application/json": {"schema": _OBJECT},
    "text/event-stream": {"schema": {"type": "string"}},
}
_PERIOD = [
    {
        "name": "period",
        "in": "query",
        "required": False,
        "schema": {"type": "string", "pattern": "^[0-9]{4}-(0[1-9]|1[0-2])$"},
    }
]

CHAT = _route(*_ASK, success=_STREAMED, body=_body(CHAT_PARAMETERS, "model", "messages"), parameters=_KEY)
COMPLETIONS = _route(*_ASK, success=_STREAMED, body=_body(COMPLETION, "model", "prompt"), parameters=_KEY)
MODELS = _route(400, 401, 403, 503)
USAGE = _route(400, 401, 403, 503, parameters=_PERIOD)
HEALTH = _route(open_=True)
READY = _route(503, open_=True)
METRICS = _route(404, success={"text/plain": {"schema": {"type": "string"}}}, open_=True)
