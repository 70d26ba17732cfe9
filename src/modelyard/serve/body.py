"""A request's body: read up to a limit, in time, and as JSON that means what it says."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress
from typing import Any

from starlette.requests import Request

from .refusals import Refusal, invalid

SWALLOWED, SWALLOW_S = 16 << 20, 2.0  # bytes and seconds of a body that is too large
READ_S = 30.0  # a client that takes longer to send its body holds a place for nothing
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


async def read(request: Request, most: int) -> bytes:
    """The body's bytes. Raises Refusal: 413 for more than `most`, 408 for one that does not come."""
    body = bytearray()
    try:
        async with asyncio.timeout(READ_S):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise Refusal(499, "the client went away", code="client_gone")
                body += message.get("body", b"")
                if len(body) > most:
                    await _swallow(request, message.get("more_body", False))
                    raise _too_large(most)
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise Refusal(
            408, "the body did not come in time", code="timeout", headers={"connection": "close"}
        ) from None


async def _swallow(request: Request, more: bool) -> None:
    """Take a little of what follows: a client that still sends when the connection ends hears no reply."""
    left = SWALLOWED
    with suppress(TimeoutError):
        async with asyncio.timeout(SWALLOW_S):
            while more and left > 0:
                message = await request.receive()
                left -= len(message.get("body", b""))
                more = message.get("more_body", False)


def parse(body: bytes) -> Any:
    """The JSON value. Raises Refusal (400) without quoting a word of it."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise invalid(f"the body is not UTF-8 (byte {error.start})", code="invalid_utf8") from None
    try:
        value = json.loads(text, parse_constant=_no_number, object_pairs_hook=_once)
    except RecursionError:
        raise invalid("the body is nested too deep", code="invalid_json") from None
    except _Twice:
        raise invalid("the body says a name twice in one object", code="invalid_json") from None
    except ValueError as error:
        where = f" (character {error.pos})" if isinstance(error, json.JSONDecodeError) else ""
        raise invalid(f"the body is not JSON{where}", code="invalid_json") from None
    if _SURROGATE.search(body):
        _whole_characters(value)
    return value


def _whole_characters(value: Any) -> None:
    """Refuse half a character, which JSON's escapes can spell and no tokenizer reads."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise invalid("the body has half a character (a lone surrogate)", code="invalid_utf8") from None


class _Twice(ValueError):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Twice
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


def _too_large(most: int) -> Refusal:
    return Refusal(
        413,
        f"the body is larger than {most} bytes",
        code="body_too_large",
        headers={"connection": "close"},
    )
