"""The OpenAPI document of the routes; made from the table of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import __version__
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
    bad = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    done: dict[str, Any] = {"200": {"description": "Done", "content": good}}
    return done | {str(status): {"description": "Refused", "content": bad} for status in statuses}


def _route(
    summary: str,
    *statuses: int,
    success: Mapping[str, Any] | None = None,
    body: Mapping[str, Any] | None = None,
    parameters: list[dict[str, Any]] | None = None,
    open_: bool = False,
) -> dict[str, Any]:
    found: dict[str, Any] = {"summary": summary, "responses": _answers(*statuses, success=success)}
    if body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    if parameters:
        found["parameters"] = parameters
    if not open_:
        found["security"] = _BEARER
    return found


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

_OPERATIONS = {
    ("GET", "/v1/models"): _route("The model that is served", 400, 401, 403, 503),
    ("POST", "/v1/chat/completions"): _route(
        "Answer the last message",
        *_ASK,
        success=_STREAMED,
        body=_body(CHAT_PARAMETERS, "model", "messages"),
        parameters=_KEY,
    ),
    ("POST", "/v1/completions"): _route(
        "Answer a prompt",
        *_ASK,
        success=_STREAMED,
        body=_body(COMPLETION, "model", "prompt"),
        parameters=_KEY,
    ),
    ("GET", "/v1/usage"): _route(
        "What the key's customer has used, and what it costs", 400, 401, 403, 503, parameters=_PERIOD
    ),
    ("GET", "/healthz"): _route("The process is alive", open_=True),
    ("GET", "/readyz"): _route("A request would be taken now", 503, open_=True),
    ("GET", "/metrics"): _route(
        "Counts and times for Prometheus",
        404,
        success={"text/plain": {"schema": {"type": "string"}}},
        open_=True,
    ),
}


def document() -> dict[str, Any]:
    """The OpenAPI document (3.1) of the service; `docs/openapi.json` is a copy."""
    paths: dict[str, Any] = {}
    for (method, path), operation in _OPERATIONS.items():
        paths.setdefault(path, {})[method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Modelyard", "version": __version__, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }
