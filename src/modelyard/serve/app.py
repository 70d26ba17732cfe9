"""The routes: OpenAI's, and those that watch over the service. Nothing else."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from .. import __version__
from ..errors import ModelyardError, ProjectError
from ..records.roles import allowed
from . import body as bodies
from . import chat, completions, openapi, parameters
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
    app = routes(gateway)
    known = frozenset(getattr(route, "path", "") for route in app.routes)
    return Envelope(app, gateway.metrics, gateway.say, known)


def routes(gateway: Gateway) -> FastAPI:
    """The routes; `openapi()` of it describes them, but nothing serves that document."""
    app = FastAPI(
        title="Modelyard",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _no_route)

    @app.get("/v1/models", **openapi.MODELS)
    async def models(request: Request) -> Response:
        await gateway.keyring.bearer(request.headers.get("authorization"), "ask", "models")
        _no_query(request)
        released = gateway.fleet.released()
        model = {
            "id": released.model,
            "object": "model",
            "created": released.created,
            "owned_by": "modelyard",
        }
        return reply({"object": "list", "data": [model]}, headers={"x-modelyard-release": released.id})

    @app.post("/v1/chat/completions", **openapi.CHAT)
    async def ask_chat(request: Request) -> Response:
        return await _ask(gateway, request, "chat", parameters.chat, chat)

    @app.post("/v1/completions", **openapi.COMPLETIONS)
    async def ask_completion(request: Request) -> Response:
        return await _ask(gateway, request, "completions", parameters.completion, completions)

    @app.get("/v1/usage", **openapi.USAGE)
    async def usage(request: Request) -> Response:
        return await _usage(gateway, request)

    @app.get("/healthz", **openapi.HEALTH)
    async def healthz() -> Response:
        return reply({"status": "alive"})

    @app.get("/readyz", **openapi.READY)
    async def readyz() -> Response:
        gateway.ready()
        return reply({"status": "ready"})

    @app.get("/metrics", **openapi.METRICS)
    async def metrics(request: Request) -> Response:
        if not _on_this_machine(request):
            bearer = await gateway.keyring.find(request.headers.get("authorization"))
            # Whoever may not see them does not learn that they are here.
            if bearer is None or not allowed(bearer.key.role, "metrics") or not bearer.key.may("metrics"):
                raise Refusal(404, "there is nothing here", code="not_found")
        return Response(gateway.metrics.text(), media_type=None, headers={"content-type": CONTENT_TYPE})

    return app


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
    import asyncio

    from .. import bill

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
