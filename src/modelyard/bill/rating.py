"""What a contract's usage costs: one pure function, used by `usage`, the invoice and `/v1/usage`.

The rules, in full:
- A calendar month (in the contract's zone, half-open) that began by the cutoff is charged in full: the
  monthly fee, for the whole included quota. There is no proration yet, neither at the start nor at the end.
- When the plan changes inside a month, each plan that was in force in it is charged its fee once and gives
  its quota once, to the events of its own time. Of several versions of a plan, the first in the month gives
  both.
- Tokens use up the quota in the order (occurred, source, event id); within an event the uncached input comes
  first, then the cached input, then the output. A token beyond the quota costs its unit price by the version
  that its event names (which is what the request was reserved by), or the one set in that version's place.
- An event outside every term of its contract has no quota: it is charged by the version that it names.
- An event counts when it was recorded by the cutoff and neither voided nor replaced by then.
- Everything is exact; only the net of a line is rounded (R1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from ..errors import RecordError
from .contracts import ContractVersion
from .money import to_minor
from .period import Period, month_of, next_month
from .plans import PlanVersion

ITEMS = ("input", "cached", "output")
"""What tokens are charged as, in the order in which an event uses up the quota."""


class UsageEvent(NamedTuple):
    """One metered request as rating sees it. Tokens are whole, times are microseconds since 1970."""

    source: str
    event_id: str
    occurred_us: int
    recorded_us: int
    input_tokens: int  # the cached ones are among them
    cached_tokens: int
    output_tokens: int
    plan_version: str
    release: str | None
    kind: str = "usage"
    withdrawn: bool = False  # voided or replaced, as known at the cutoff that it was read for


class RatedEvent(NamedTuple):
    """An event, its price before the quota and what is charged for it: exact, in units of the currency."""

    event: UsageEvent
    version: PlanVersion
    list_price: Fraction
    charged: Fraction


@dataclass(frozen=True, slots=True)
class Part:
    """What one release adds to a line; None is a release that nobody named."""

    release: str | None
    quantity: int
    events: int


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a month: one thing at one unit price."""

    item: str
    """"monthly", "input", "cached", "output"; tokens that the quota covers end in ".included"."""
    version: PlanVersion
    quantity: int
    unit_price: Decimal
    """Of one token or one month; 0 where the quota covers it."""
    list_price: Fraction
    """What the quantity costs without a quota."""
    amount: Fraction
    """What is charged, exact."""
    net: int
    """R1: what is charged, in minor units."""
    parts: tuple[Part, ...]

    @property
    def events(self) -> int:
        """Events that are in the line, at least with a token."""
        return sum(part.events for part in self.parts)


@dataclass(frozen=True, slots=True)
class Month:
    """A month's lines and what was used in it."""

    period: Period
    lines: tuple[Line, ...]
    requests: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int

    @property
    def total(self) -> int:
        """Sum of the rounded lines, in minor units."""
        return sum(line.net for line in self.lines)


@dataclass(frozen=True, slots=True)
class Rated:
    """A contract's months in order."""

    contract: str
    currency: str
    cutoff_us: int
    months: tuple[Month, ...]


def rate(
    contract: ContractVersion,
    events: Iterable[UsageEvent],
    cutoff_us: int,
    each: Callable[[RatedEvent], None] | None = None,
) -> Rated:
    """Rate events, which come in the order (occurred_us, source, event_id), as a stream in flat memory.

    `each` is told every event that counts. Raises ValueError when the order is wrong, RecordError for an
    event that names no version of a plan.
    """
    months: dict[Period, _Tally] = {}
    tally: _Tally | None = None
    last: tuple[int, str, str] | None = None
    for event in events:
        order = (event.occurred_us, event.source, event.event_id)
        if last is not None and order <= last:
            raise ValueError(f"event {order} comes after {last}")
        last = order
        if event.kind == "void" or event.withdrawn or event.recorded_us > cutoff_us:
            continue
        version = contract.versions.get(event.plan_version)
        if version is None:
            raise RecordError(
                f"event {event.event_id!r} names {event.plan_version!r}, which is no version of a plan"
            )
        if tally is None or not tally.period.start_us <= event.occurred_us < tally.period.end_us:
            period = month_of(event.occurred_us, contract.timezone)
            tally = months.setdefault(period, _Tally(period, contract))
        beyond = tally.add(event, version)
        if each is not None:
            rates = version.rates
            list_price = rates.list_price(event.input_tokens, event.cached_tokens, event.output_tokens)
            charged = rates.list_price(beyond[0] + beyond[1], beyond[1], beyond[2])
            each(RatedEvent(event, version, list_price, charged))
    for period in _begun(contract, cutoff_us):
        months.setdefault(period, _Tally(period, contract))
    in_order = sorted(months.values(), key=lambda tally: tally.period.start_us)
    return Rated(
        contract.id,
        contract.currency,
        cutoff_us,
        tuple(tally.month(contract.currency, cutoff_us) for tally in in_order),
    )


def _begun(contract: ContractVersion, cutoff_us: int) -> Iterable[Period]:
    """The months of a contract that began by the cutoff."""
    if contract.start_us > cutoff_us:
        return
    period = month_of(contract.start_us, contract.timezone)
    while period.start_us <= cutoff_us and (contract.end_us is None or period.start_us < contract.end_us):
        yield period
        period = next_month(period, contract.timezone)


@dataclass(slots=True)
class _Pool:
    """The quota of one plan in one month."""

    version: PlanVersion  # the first of the plan in the month: its fee and its quota
    start_us: int
    left: int


@dataclass(slots=True)
class _Tally:
    """A month while it is being summed up: whole numbers only, exact money is made at the end."""

    period: Period
    contract: ContractVersion
    requests: int = 0
    tokens: list[int] = field(default_factory=lambda: [0, 0, 0])
    pools: list[tuple[int, int | None, _Pool]] = field(init=False)
    # (version, item) -> release -> [quantity, events]
    sums: dict[tuple[str, str], dict[str | None, list[int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        by_plan: dict[str, _Pool] = {}
        self.pools = []
        for term in self.contract.terms:
            if term.start_us >= self.period.end_us:
                break
            if term.end_us is not None and term.end_us <= self.period.start_us:
                continue
            version = term.version
            pool = by_plan.setdefault(
                version.plan,
                _Pool(version, max(term.start_us, self.period.start_us), version.included_tokens),
            )
            self.pools.append((term.start_us, term.end_us, pool))

    def add(self, event: UsageEvent, version: PlanVersion) -> tuple[int, int, int]:
        """Count an event; returns its uncached, cached and written tokens that the quota does not cover."""
        self.requests += 1
        pool = self._pool_at(event.occurred_us)
        beyond = [0, 0, 0]
        for at, quantity in enumerate(
            (event.input_tokens - event.cached_tokens, event.cached_tokens, event.output_tokens)
        ):
            if not quantity:
                continue
            self.tokens[at] += quantity
            covered = min(quantity, pool.left) if pool else 0
            if pool and covered:
                pool.left -= covered
                self._sum(version.id, ITEMS[at] + ".included", event.release, covered)
            if quantity > covered:
                beyond[at] = quantity - covered
                self._sum(version.id, ITEMS[at], event.release, beyond[at])
        return beyond[0], beyond[1], beyond[2]

    def _pool_at(self, at_us: int) -> _Pool | None:
        for start_us, end_us, pool in self.pools:
            if start_us <= at_us and (end_us is None or at_us < end_us):
                return pool
        return None

    def _sum(self, version: str, item: str, release: str | None, quantity: int) -> None:
        found = self.sums.setdefault((version, item), {}).setdefault(release, [0, 0])
        found[0] += quantity
        found[1] += 1

    def month(self, currency: str, cutoff_us: int) -> Month:
        """The month's lines: the fees, then of each version the covered tokens and those beyond."""
        lines = []
        for version in self._fees(cutoff_us):
            fee = Fraction(version.monthly)
            lines.append(Line("monthly", version, 1, version.monthly, fee, fee, to_minor(fee, currency), ()))
        for id in sorted({id for id, _ in self.sums}, key=self._place):
            version = self.contract.versions[id]
            for at, item in enumerate(ITEMS):
                for covered in (True, False):
                    found = self.sums.get((id, item + ".included" if covered else item))
                    if found:
                        lines.append(self._line(item, covered, version, _price(version, at), found))
        read = self.tokens[0] + self.tokens[1]
        return Month(self.period, tuple(lines), self.requests, read, self.tokens[1], self.tokens[2])

    def _fees(self, cutoff_us: int) -> list[PlanVersion]:
        """The versions whose fee the month bears: of each plan the first, once it was in force."""
        seen: dict[str, PlanVersion] = {}
        for _, _, pool in self.pools:
            if pool.start_us <= cutoff_us:
                seen.setdefault(pool.version.plan, pool.version)
        return [version for version in seen.values() if version.monthly]

    def _line(
        self,
        item: str,
        covered: bool,
        version: PlanVersion,
        price: Decimal,
        found: dict[str | None, list[int]],
    ) -> Line:
        quantity = sum(many for many, _ in found.values())
        full = Fraction(price) * quantity
        amount = Fraction(0) if covered else full
        parts = tuple(
            Part(release, *found[release]) for release in sorted(found, key=lambda name: (name is None, name))
        )
        return Line(
            item + ".included" if covered else item,
            version,
            quantity,
            Decimal(0) if covered else price,
            full,
            amount,
            to_minor(amount, version.currency),
            parts,
        )

    def _place(self, id: str) -> tuple[str, int]:
        version = self.contract.versions[id]
        return version.plan, version.seq


def _price(version: PlanVersion, at: int) -> Decimal:
    """The price of one token: a million of them divided exactly, which moves the point only."""
    rates = version.rates
    return (rates.input, rates.cached, rates.output)[at].scaleb(-6)
