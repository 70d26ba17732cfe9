"""The family of errors. Each says what happened, where, and what to try.

ModelyardError           exit 1  HTTP 500
├── ProjectError         exit 2  HTTP 400   the project file or the arguments are wrong
├── SourceError          exit 1  HTTP 422   a document, pair or base model cannot be used
├── RecordError          exit 1  HTTP 500   a record is missing, damaged or from a newer release
│   └── Busy             exit 1  HTTP 409   another process holds it
├── NoRoom               exit 1  HTTP 507   the disk or the memory does not suffice
├── EngineError          exit 1  HTTP 503   an engine failed
│   ├── EngineCrashed    exit 1  HTTP 503   its process died
│   └── EngineHung       exit 1  HTTP 504   it did not answer in time
├── MissingPackage       exit 1  HTTP 501   an extra is not installed
├── TrainingError        exit 1  HTTP 500   the training cannot go on
├── Refused              exit 1  HTTP 409   a gate refused the release
├── Denied               exit 1  HTTP 429   a limit or a budget does not allow the request
│   ├── KeyRefused       exit 1  HTTP 401   the key is unknown, revoked or over
│   └── TooMany          exit 1  HTTP 429   the key asks too much in a minute, or at once
├── Duplicate            exit 1  HTTP 409   the same request is done or under way
└── Conflict             exit 1  HTTP 409   the same id came with another body
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any


class ModelyardError(Exception):
    """Anything that Modelyard tells its user instead of a traceback."""

    exit_code = 1
    http_status = 500
    result: Mapping[str, Any] | None = None
    """What was done until then, for a verb's JSON output."""

    def __init__(self, what: str, *, where: str = "", try_: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.try_ = try_

    @property
    def code(self) -> str:
        """The error's name in JSON output, such as `project_error`."""
        name = type(self).__name__
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")

    def __str__(self) -> str:
        where = f" ({self.where})" if self.where else ""
        advice = f"\nTry: {self.try_}" if self.try_ else ""
        return f"{self.what}{where}{advice}"


class ProjectError(ModelyardError):
    """The project file or the arguments are wrong."""

    exit_code = 2
    http_status = 400


class SourceError(ModelyardError):
    """A document, a pair or a base model cannot be used."""

    http_status = 422


class RecordError(ModelyardError):
    """A record is missing, damaged or made by a newer release."""


class Busy(RecordError):
    """Another process holds it."""

    http_status = 409


class NoRoom(ModelyardError):
    """The disk or the memory does not suffice."""

    http_status = 507


class EngineError(ModelyardError):
    """An engine failed."""

    http_status = 503


class EngineCrashed(EngineError):
    """The engine's process died."""


class EngineHung(EngineError):
    """The engine did not answer in time."""

    http_status = 504


class MissingPackage(ModelyardError):
    """An extra is not installed."""

    http_status = 501


class TrainingError(ModelyardError):
    """The training cannot go on."""


class Refused(ModelyardError):
    """A gate refused the release."""

    http_status = 409
    audited: Mapping[str, Any] | None = None
    """What the audit log is told of a refusal that later attempts must know of."""
    picture: str = ""
    """An SVG of what was measured and refused."""


class Denied(ModelyardError):
    """A limit or a budget does not allow the request; nothing was reserved or counted."""

    http_status = 429

    def __init__(
        self, what: str, *, code: str, resets_us: int | None = None, soon: bool = False, try_: str = ""
    ) -> None:
        super().__init__(what, try_=try_)
        self.reason = code
        self.resets_us = resets_us
        """When asking again can help, in microseconds since 1970; None: not by waiting."""
        self.soon = soon
        """Only requests under way stand in the way."""

    @property
    def code(self) -> str:
        """The code that OpenAI's clients know, such as `insufficient_quota`."""
        return self.reason


class KeyRefused(Denied):
    """The key is unknown, revoked or over."""

    http_status = 401


class TooMany(Denied):
    """The key asks too much in a minute, or at once."""

    def __init__(self, what: str, *, retry_after_s: float, headers: Mapping[str, str]) -> None:
        super().__init__(what, code="rate_limit_exceeded", soon=True, try_="the same request again later")
        self.retry_after_s = retry_after_s
        """Seconds until the same request can pass, were nothing else asked."""
        self.headers = dict(headers)


class Duplicate(ModelyardError):
    """The same request, by its idempotency key and body, is done or under way."""

    http_status = 409

    def __init__(self, what: str, *, done: bool, request_id: str | None, try_: str = "") -> None:
        super().__init__(what, try_=try_)
        self.done = done
        self.request_id = request_id
        """Of the first one; None when the event was imported."""


class Conflict(ModelyardError):
    """The same id came with another body."""

    http_status = 409


def need(module: str, *, extra: str, for_: str) -> ModuleType:
    """Import `module`, or say which extra brings it.

    Raises MissingPackage with the pip line when the package is absent.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise MissingPackage(
            f"{for_} needs the package {module!r}, which is not installed",
            try_=f"pip install 'modelyard[{extra}]'",
        ) from None
