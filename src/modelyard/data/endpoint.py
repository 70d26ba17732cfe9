"""One request to an OpenAI-compatible endpoint, and what its response means."""

from __future__ import annotations

import asyncio
import email.utils
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import httpx2

from ..errors import SourceError
from .items import Drop
from .settings import Answers

CONNECT_S = 10.0
SHOWN = 200  # characters of what the endpoint says of an error

_CODE = re.compile(r"[A-Za-z0-9_.\-]{1,64}")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came. `finish` is OpenAI's finish_reason; counts of tokens are None where not told."""

    text: str
    finish: str
    refused: bool
    model: str
    fingerprint: str | None
    input_tokens: int | None
    output_tokens: int | None


class Again(Exception):
    """No answer this time, where a later try may get one. `said` is for people, `detail` holds no text."""

    def __init__(
        self,
        kind: Literal["unreachable", "busy", "failed", "late", "garbled", "renamed"],
        said: str = "",
        *,
        detail: str = "",
        wait_s: float | None = None,
    ) -> None:
        super().__init__(kind)
        self.kind = kind
        self.said = said
        self.detail = detail
        self.wait_s = wait_s
        """Seconds that the endpoint asks to wait."""


class Rejected(Drop):
    """The endpoint does not take this question. `said`: what it says, for people."""

    def __init__(self, detail: str, said: str) -> None:
        super().__init__("answer_rejected", detail)
        self.said = said


class Endpoint:
    """The model of `answers`, asked with `key` where there is one; an asynchronous context.

    Redirects are not followed. What the endpoint says is told without the key.
    """

    def __init__(self, path: str, answers: Answers, key: str | None, *, seed: int) -> None:
        self.answers = answers
        self.where = f"source {path}, {answers.url}"
        self.seen = False
        """Whether it has answered anything."""
        self.names: dict[str, str | None] = {"max_tokens": "max_tokens", "seed": "seed"}
        """Parameters as this endpoint takes them: newer models rename one, some servers know no seed."""
        self._key = key
        self._seed = seed
        self._url = answers.url.rstrip("/") + "/chat/completions"
        self._client = httpx2.AsyncClient(
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(None, connect=min(CONNECT_S, answers.timeout_s)),
        )

    async def __aenter__(self) -> Endpoint:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._client.__aexit__(*error)

    async def ask(self, messages: Sequence[Mapping[str, str]], sample: int) -> Reply:
        """One try. Raises Again, Rejected, or SourceError where no question will be answered."""
        body = self._body(messages, sample)
        try:
            async with asyncio.timeout(self.answers.timeout_s):
                response = await self._client.post(self._url, json=body)
        except TimeoutError:
            raise Again("late", detail=f"{self.answers.timeout_s:g} s") from None
        except httpx2.RequestError as error:
            raise Again("unreachable", self._shown(str(error) or type(error).__name__)) from None
        if response.status_code != 200:
            raise self._refusal(response, body)
        reply = self._reply(response)
        self.seen = True
        return reply

    def _body(self, messages: Sequence[Mapping[str, str]], sample: int) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.answers.model, "messages": [dict(m) for m in messages]}
        if self.answers.temperature is not None:
            body["temperature"] = self.answers.temperature
        values = {"max_tokens": self.answers.max_tokens}
        if self.answers.temperature != 0:
            values["seed"] = self._seed + sample
        called = {name: instead for name, instead in self.names.items() if instead and name in values}
        return body | {instead: values[name] for name, instead in called.items()}

    def _reply(self, response: httpx2.Response) -> Reply:
        try:
            told = response.json()
            choice = told["choices"][0]
            message, usage = choice["message"], told.get("usage") or {}
            text = message.get("content") or ""
            if not isinstance(text, str):
                raise TypeError
            return Reply(
                self._hidden(text),
                str(choice.get("finish_reason")),
                bool(message.get("refusal")) or choice.get("finish_reason") == "content_filter",
                self._shown(str(told.get("model") or "")),
                self._shown(str(told.get("system_fingerprint") or "")) or None,
                _count(usage.get("prompt_tokens")),
                _count(usage.get("completion_tokens")),
            )
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise Again("garbled", detail="no chat completion") from None

    def _refusal(self, response: httpx2.Response, body: Mapping[str, Any]) -> Exception:
        """What a status other than 200 means."""
        status, host, where = response.status_code, self.answers.host, self.where
        code, param, message = _error(response)
        said = self._shown(f"HTTP {status}, {message}" if message else f"HTTP {status}")
        detail = f"HTTP {status} {code}".rstrip()
        if status in (401, 403):
            named = self.answers.key_env
            if self._key is None:
                return SourceError(
                    f"{host} wants a key: {said}",
                    where=where,
                    try_="`key_env: NAME` in the source, the variable of the environment that holds it",
                )
            return SourceError(
                f"{host} refuses the key: {said}", where=where, try_=f"a key of this endpoint in {named}"
            )
        if status == 404:
            return SourceError(
                f"{host} has no model {self.answers.model} at this URL: {said}",
                where=where,
                try_="the model's name as its route /models lists it; the URL ends before /chat/completions",
            )
        if status == 402 or code == "insufficient_quota":
            return SourceError(
                f"{host} has no credit left for this key: {said}",
                where=where,
                try_="top it up, then `modelyard up`: what was answered is kept",
            )
        if status in (408, 429) or status >= 500:
            wait_s = _seconds(response.headers.get("retry-after"))
            return Again("busy" if status == 429 else "failed", said, detail=detail, wait_s=wait_s)
        if status == 400 and self._rename(param, message, code, body):
            return Again("renamed", said, wait_s=0.0)
        if status in (400, 413, 422):
            return Rejected(detail, said)
        return SourceError(
            f"{host} gives no answer: {said}",
            where=where,
            try_="the URL of an OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1",
        )

    def _rename(self, param: str, message: str, code: str, body: Mapping[str, Any]) -> bool:
        """Whether a refused parameter can go by another name, or be left out."""
        if self.seen and code != "unsupported_parameter":
            return False
        for name, instead in (("max_tokens", "max_completion_tokens"), ("seed", None)):
            if name in body and (param == name or re.search(rf"\b{name}\b", message)):
                self.names[name] = instead
                return True
        return False

    def _shown(self, text: str) -> str:
        return " ".join(self._hidden(text).split())[:SHOWN]

    def _hidden(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


def _error(response: httpx2.Response) -> tuple[str, str, str]:
    """Code, parameter and message of an error in OpenAI's form, or in any other that is known."""
    try:
        told = response.json()
        error = told.get("error", told) if isinstance(told, dict) else {}
    except ValueError:
        error = response.text
    if not isinstance(error, dict):
        return "", "", str(error)
    code = str(error.get("code") or error.get("type") or "")
    said = error.get("message") or error.get("detail") or ""
    return code if _CODE.fullmatch(code) else "", str(error.get("param") or ""), str(said)


def _seconds(retry_after: str | None) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date (RFC 9110, 10.2.3)."""
    if retry_after is None:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
