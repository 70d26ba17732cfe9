"""The routes: OpenAI's, and those that watch over the service. Nothing else."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from .. import bill
from ..errors import ModelyardError, ProjectError
from ..records.roles import allowed
from . import body as bodies
from . import chat, completions, parameters
from .envelope import Envelope
from .gateway import Gateway
from .metrics import CONTENT_TYPE
from .parameters import Wanted
from .refusals import Refusal, busy, invalid, reply
from .shape import Shape
from .stream import EventStream, plain

LONGEST_EVENT_ID = 255


def build(gateway: Gateway) -> ASGIApp:
    """The service as an ASGI application."""
    routes = [
        Route(path, partial(answer, gateway), methods=[method]) for (method, path), answer in ROUTES.items()
    ]
    handlers = {Refusal: _refused, HTTPException: _no_route, Exception: _failed}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return Envelope(app, gateway.metrics, gateway.say, frozenset(path for _, path in ROUTES))


async def _models(gateway: Gateway, request: Request) -> Response:
    await gateway.keyring.bearer(request.headers.get("authorization"), "ask", "models")
    _no_query(request)
    released = gateway.fleet.released()
    model = {"id": released.model, "object": "model", "created": released.created, "owned_by": "modelyard"}
    return reply({"object": "list", "data": [model]}, headers={"x-modelyard-release": released.id})


async def _chat(gateway: Gateway, request: Request) -> Response:
    return await _ask(gateway, request, "chat", parameters.chat, chat)


async def _completion(gateway: Gateway, request: Request) -> Response:
    return await _ask(gateway, request, "completions", parameters.completion, completions)


async def _ask(
    gateway: Gateway, request: Request, scope: str, read: Callable[[Any], Wanted], shape: Shape
) -> Response:
    bearer = await gateway.keyring.bearer(request.headers.get("authorization"), "ask", scope)
    _no_query(request)
    event_id = _event_id(request)
    body = await bodies.read(request, gateway.settings.body_kib * 1024)
    wanted = read(bodies.parse(body))
    turn, headers = await gateway.asking.open(
        bearer,
        wanted,
        request.url.path.encode() + b"\n" + body,
        request_id=request.state.request_id,
        event_id=event_id,
        arrived=request.state.arrived,
    )
    if wanted.stream:
        return EventStream(turn, shape, headers)
    return await plain(turn, shape, request.receive, headers)


async def _usage(gateway: Gateway, request: Request) -> Response:
    bearer = await gateway.keyring.bearer(request.headers.get("authorization"), "usage.own", "usage")
    unknown = sorted(set(request.query_params) - {"period"})
    if unknown or len(request.query_params.multi_items()) > 1:
        raise invalid("the only parameter is period, such as 2026-11", "period")
    customer = bearer.key.customer_id
    if customer is None:
        raise Refusal(403, "this key belongs to no customer", code="not_permitted")
    period = request.query_params.get("period")
    read = gateway.yard.ledger.read
    try:
        told = await asyncio.to_thread(bill.usage, read, customer, period)
    except ProjectError:
        raise invalid("period is a month, such as 2026-11", "period") from None
    except ModelyardError:
        raise busy("the ledger cannot be read", 5.0, "ledger_unavailable") from None
    return reply(told)


async def _healthz(_: Gateway, __: Request) -> Response:
    return reply({"status": "alive"})


async def _readyz(gateway: Gateway, _: Request) -> Response:
    gateway.ready()
    return reply({"status": "ready"})


async def _metrics(gateway: Gateway, request: Request) -> Response:
    if not _on_this_machine(request):
        bearer = await gateway.keyring.find(request.headers.get("authorization"))
        # Whoever may not see them does not learn that they are here.
        if bearer is None or not allowed(bearer.key.role, "metrics") or not bearer.key.may("metrics"):
            raise Refusal(404, "there is nothing here", code="not_found")
    return Response(gateway.metrics.text(), media_type=None, headers={"content-type": CONTENT_TYPE})


ROUTES = {
    ("GET", "/v1/models"): _models,
    ("POST", "/v1/chat/completions"): _chat,
    ("POST", "/v1/completions"): _completion,
    ("GET", "/v1/usage"): _usage,
    ("GET", "/healthz"): _healthz,
    ("GET", "/readyz"): _readyz,
    ("GET", "/metrics"): _metrics,
}
"""All that there is; `openapi.document` describes each."""


def _event_id(request: Request) -> str | None:
    """The client's `Idempotency-Key`, which names the event within the customer's scope."""
    found = request.headers.getlist("idempotency-key")
    if not found:
        return None
    plain = len(found) == 1 and 0 < len(found[0]) <= LONGEST_EVENT_ID
    if not plain or not (found[0].isascii() and found[0].isprintable()):
        what = f"Idempotency-Key is one text of 1 to {LONGEST_EVENT_ID} printable ASCII characters"
        raise invalid(what, "Idempotency-Key")
    return found[0]


def _no_query(request: Request) -> None:
    """A parameter in the address would be ignored, so it is refused."""
    if request.url.query:
        raise invalid("this route takes no parameters in its address", code="unknown_parameter")


def _on_this_machine(request: Request) -> bool:
    """Asked from loopback, and not on behalf of somebody behind a proxy."""
    if any(name in request.headers for name in ("forwarded", "x-forwarded-for", "x-real-ip", "via")):
        return False
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return error.response()


async def _no_route(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        return Refusal(
            405, "this route has other methods", code="method_not_allowed", headers=headers
        ).response()
    return Refusal(error.status_code, "there is nothing here", code="not_found", headers=headers).response()


async def _failed(_: Request, __: Exception) -> Response:
    return Refusal(500, "something went wrong here", code="internal_error").response()
