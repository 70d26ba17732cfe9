"""What the gateway says no with: OpenAI's error form, its types, codes and headers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


class Refusal(Exception):
    """A request that is not answered. The client sees `what`: it never quotes a prompt or a key."""

    def __init__(
        self,
        status: int,
        what: str,
        *,
        code: str | None = None,
        param: str | None = None,
        type: str | None = None,
        retry_after_s: float | None = None,
        again: bool | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`again`: whether the official clients should retry by themselves; None leaves it to the status."""
        super().__init__(what)
        self.what = what
        self.status = status
        self.param = param
        self.name = code
        self.type = type or TYPES.get(status, "server_error")
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["retry-after"] = str(max(1, math.ceil(retry_after_s)))
        if again is not None:
            self.headers["x-should-retry"] = "true" if again else "false"

    def body(self) -> dict[str, Any]:
        """The JSON object that OpenAI's clients read."""
        error = {"message": self.what, "type": self.type, "param": self.param, "code": self.name}
        return {"error": error}

    def response(self) -> Response:
        """The reply."""
        return reply(self.body(), self.status, self.headers)


def reply(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response; no number in it is NaN, every character is written out."""
    data = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return Response(data, status, dict(headers or {}), "application/json")


def invalid(what: str, param: str | None = None, code: str | None = None) -> Refusal:
    """400: the request is wrong, `param` names where."""
    return Refusal(400, what, param=param, code=code)


def busy(what: str, retry_after_s: float, code: str = "engine_overloaded") -> Refusal:
    """503: nothing is wrong with the request; come again later."""
    return Refusal(503, what, code=code, type="server_error", retry_after_s=retry_after_s)
