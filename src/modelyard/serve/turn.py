"""One request, from its reservation to its settlement."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from ..index import Hit
from .answer import Answer
from .asks import Used
from .fleet import Served
from .parameters import Wanted
from .refusals import Refusal
from .released import Released


@dataclass(eq=False)
class Turn:
    """What is known of a request under way. Times are time.monotonic() seconds."""

    id: str
    served: Served
    wanted: Wanted
    answer: Answer
    input_tokens: int
    hits: tuple[Hit, ...]
    last_only: bool
    arrived: float
    created: int = field(default_factory=lambda: int(time.time()))
    submitted: float = 0.0
    database_s: float = 0.0
    client_s: float = 0.0
    gone: bool = False
    """The client went away."""
    late: bool = False
    """Its deadline has passed."""
    settled: asyncio.Future[Refusal | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    """The event is on the disk: None; or why there is none."""

    @property
    def released(self) -> Released:
        return self.served.released

    @property
    def unasked(self) -> bool:
        """Answered NOT STATED without the engine."""
        return not self.submitted

    def leave(self) -> None:
        """The client has gone: the engine stops, and what it wrote is billed."""
        if not self.answer.done.done():
            self.gone = True
            self.answer.cancel()

    def used(self) -> Used:
        """What it took, for the books."""
        answer = self.answer
        now = time.monotonic()
        submitted = self.submitted or now
        last = answer.last_at or now
        first = answer.first_at or last
        return Used(
            input_tokens=self.input_tokens,
            cached_tokens=0,
            output_tokens=answer.tokens,
            release_id=self.released.id,
            finish=answer.finish,
            status=499 if self.gone else 200,
            duration_us=_us(now - self.arrived),
            queue_us=_us(submitted - self.arrived - self.database_s),
            prefill_us=_us(first - submitted),
            decode_us=_us(last - first),
            database_us=_us(self.database_s),
            client_us=_us(self.client_s),
        )


def _us(seconds: float) -> int:
    return max(0, round(seconds * 1_000_000))
