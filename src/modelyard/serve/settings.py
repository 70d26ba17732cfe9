"""The block `serve` of the project file."""

from __future__ import annotations

from pydantic import Field

from ..records.settings import Settings


class Serve(Settings):
    """The block `serve`: how much the service takes on at once, and how long it waits."""

    callers: int = Field(default=8, ge=1, le=256)
    """Requests that the engine advances together."""
    context_tokens: int = Field(default=2048, ge=64)
    """Room for a prompt and its answer; the model's own limit if that is smaller."""
    queue: int = Field(default=128, ge=0)
    """Requests that may wait for a caller's place; one more is told to come again later."""
    queue_s: float = Field(default=30.0, gt=0)
    """Longest wait in the queue, in seconds."""
    deadline_s: float = Field(default=300.0, gt=0)
    """Longest time from a request's arrival to its last token, in seconds."""
    body_kib: int = Field(default=1024, ge=1)
    """Largest request body, in KiB."""
    drain_s: float = Field(default=20.0, gt=0, le=600)
    """How long requests under way may go on when the service is told to stop, in seconds."""
    signed_by: str | None = None
    """Public key in PEM: only a release that its holder signed is served (`modelyard release sign`)."""
    silence_s: float = Field(default=120.0, gt=0)
    """Seconds without a token from an engine that has work, after which it is killed and started again."""
