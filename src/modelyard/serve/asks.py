"""What the gateway tells the books about a request, and what the books answer."""

from __future__ import annotations

from dataclasses import dataclass

from ..bill.rates import Rates


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that wants to be answered: who asks, and how much it can cost at most."""

    request_id: str
    """Our own id of the request: unique, never chosen by the client."""
    key_id: str
    customer_id: str
    contract_id: str
    event_id: str | None
    """The client's `Idempotency-Key`; None: the request id stands for it."""
    body_mac: str
    """Keyed digest of the body (`meter.body_mac`): the same event id with another body is a conflict."""
    input_tokens: int
    """Tokens of the whole prompt as the engine will read it."""
    max_output_tokens: int
    max_output_given: bool
    """The client set the limit itself: then it is never lowered, only kept or refused."""
    cost: Rates | None
    """None: there is no price, so the request is refused."""

    @property
    def source(self) -> str:
        """Whose event ids these are: one customer's never meet another's."""
        return source_of(self.customer_id)


def source_of(customer_id: str) -> str:
    """The `source` of events that a customer's requests make."""
    return f"customer:{customer_id}"


@dataclass(frozen=True, slots=True)
class Held:
    """A reservation that stands: the engine may write up to `max_output_tokens`."""

    request_id: str
    event_id: str
    max_output_tokens: int
    """As asked, or less where a hard budget buys no more."""
    amount: int
    """Nano-units of the price's currency that are held."""
    lease_us: int
    """When the hold is freed unless it is settled, released or extended before."""
    warnings: tuple[str, ...] = ()
    """Soft budgets that are passed, and alert levels that this request crossed."""


@dataclass(frozen=True, slots=True)
class Used:
    """What a request really took. Times are microseconds; nothing of what was said."""

    input_tokens: int
    """All that the engine read, the cached ones among them; at most what was reserved."""
    cached_tokens: int
    output_tokens: int
    release_id: str | None
    finish: str | None
    status: int = 200
    """HTTP status of the reply; 499 when the client went away."""
    occurred_us: int | None = None
    """When it was used; None: now, by the clock of the books."""
    duration_us: int = 0
    queue_us: int = 0
    prefill_us: int = 0
    decode_us: int = 0
    database_us: int = 0
    """Waited for the reservation; the books add the wait for the settlement."""
    client_us: int = 0
    """Waited for the client to take what was written."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The event is on the disk."""

    request_id: str
    source: str
    event_id: str
    amount: int
    """List price in nano-units, rounded up, as the budgets count it."""
    first: bool
    """False: it had been settled before, and nothing was counted now."""
