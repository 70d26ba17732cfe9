"""Events of other systems into the ledger: each counted once, refused as a conflict, or set aside."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, Row, Table, and_, insert, or_, select

from ..records.clock import now_us
from ..records.digest import digest
from ..records.tables.service import event_conflict, event_quarantine, hold, usage_event
from . import contracts, customers
from .cloudevents import Incoming, Unreadable, line, parse
from .contracts import ContractVersion
from .events import Open

CHUNK = 500  # rows a transaction: about 20 ms, well below the 50 ms that one may last
OLDEST_US = 35 * 24 * 3600 * 1_000_000  # compare Stripe 35 days, Metronome 34, OpenMeter 32
FUTURE_US = 5 * 60 * 1_000_000  # clocks of two machines may differ by so much

_COLUMNS = tuple(field.name for field in fields(Incoming))
Key = tuple[str, str]


@dataclass(slots=True)
class Taken:
    """What became of lines: accepted = counted + duplicates + conflicts + quarantined."""

    accepted: int = 0
    counted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    quarantined: int = 0


def take(
    write: Open,
    lines: Iterable[bytes],
    clock: Callable[[], int] = now_us,
    told: Callable[[Taken], None] | None = None,
) -> Taken:
    """Take lines of CloudEvents into the ledger, `CHUNK` of them a transaction; `told` hears after each.

    Killed half-way, the same lines again finish the work: what is in already is a duplicate.
    """
    taken = Taken()
    for chunk in _chunks(raw for raw in lines if raw.strip()):
        parsed = [parse(raw.strip()) for raw in chunk]
        with write() as connection:
            _Chunk(connection, parsed, clock()).store(taken)
        if told is not None:
            told(taken)
    return taken


def content(event: Incoming | Row[Any]) -> tuple[Any, ...]:
    """What must be the same for two events of one id to be the same event."""
    return tuple(getattr(event, name) for name in _COLUMNS)


def mark(event: Incoming) -> str:
    """The digest that stands for an imported event's body: numbers and ids only, so it needs no key."""
    return digest("usage", list(content(event)))


def row_of(event: Incoming, contract: ContractVersion, at_us: int) -> dict[str, Any] | None:
    """The ledger's row of an event; None when its contract was not in force when it occurred."""
    term = contract.term_at(event.occurred_us)
    if term is None:
        return None
    return {
        **{name: getattr(event, name) for name in _COLUMNS},
        "contract_id": contract.id,
        "recorded_us": at_us,
        "plan_version_id": term.version.id,
        "body_mac": mark(event),
    }


class _Chunk:
    """One transaction's worth of events."""

    def __init__(self, connection: Connection, parsed: Sequence[Incoming | Unreadable], at_us: int) -> None:
        self.connection = connection
        self.parsed = parsed
        self.at_us = at_us
        keys = sorted({(one.source, one.event_id) for one in parsed})
        self.known: dict[Key, tuple[Any, ...]] = {
            (row.source, row.event_id): content(row) for row in _rows(connection, usage_event, keys)
        }
        self.aside: dict[Key, str] = {
            (row.source, row.event_id): row.body for row in _rows(connection, event_quarantine, keys)
        }
        under_way = select(hold.c.source, hold.c.event_id).where(hold.c.state == "held")
        self.held = {(row.source, row.event_id) for row in connection.execute(under_way)}  # a few at a time
        self.contracts: dict[str, list[ContractVersion] | None] = {}

    def store(self, taken: Taken) -> None:
        """Sort the events and write what is new."""
        rows: list[dict[str, Any]] = []
        conflicts: dict[tuple[str, str, str], None] = {}
        aside: list[dict[str, Any]] = []
        for one in self.parsed:
            key = (one.source, one.event_id)
            taken.accepted += 1
            if key in self.known:
                same = isinstance(one, Incoming) and self.known[key] == content(one)
            else:
                same = key in self.aside and self.aside[key] == body_of(one)
            if same:
                taken.duplicates += 1
            elif key in self.known or key in self.aside:
                taken.conflicts += 1
                conflicts[(*key, digest("body", body_of(one)))] = None
            else:
                row, why = self._judge(one)
                if row is not None and isinstance(one, Incoming):
                    taken.counted += 1
                    self.known[key] = content(one)
                    rows.append(row)
                else:
                    taken.quarantined += 1
                    self.aside[key] = body = body_of(one)
                    aside.append(
                        {
                            "source": one.source,
                            "event_id": one.event_id,
                            "body": body,
                            "why": why,
                            "at_us": self.at_us,
                        }
                    )
        self._write(rows, aside, list(conflicts))

    def _judge(self, one: Incoming | Unreadable) -> tuple[dict[str, Any] | None, str]:
        """The event's row, or why it cannot be counted."""
        if isinstance(one, Unreadable):
            return None, one.why
        if one.doubt:
            return None, one.doubt
        if one.occurred_us < self.at_us - OLDEST_US:
            return None, "older than 35 days"
        if one.occurred_us > self.at_us + FUTURE_US:
            return None, "more than 5 minutes in the future"
        if (one.source, one.event_id) in self.held:
            return None, "a request of this id is being answered"
        found = self._contracts(one.customer_id)
        if found is None:
            return None, "the customer is not known"
        for contract in found:
            if row := row_of(one, contract, self.at_us):
                return row, ""
        return None, "the customer had no contract then"

    def _contracts(self, customer: str) -> list[ContractVersion] | None:
        if customer not in self.contracts:
            self.contracts[customer] = contracts_of(self.connection, customer, self.at_us)
        return self.contracts[customer]

    def _write(
        self, rows: list[dict[str, Any]], aside: list[dict[str, Any]], conflicts: list[tuple[str, str, str]]
    ) -> None:
        if rows:
            self.connection.execute(insert(usage_event), rows)
        if aside:
            self.connection.execute(insert(event_quarantine), aside)
        if conflicts:
            there = {
                (row.source, row.event_id, row.body_mac)
                for row in _rows(self.connection, event_conflict, [(one[0], one[1]) for one in conflicts])
            }
            new = [
                {"source": source, "event_id": id, "body_mac": mac, "at_us": self.at_us}
                for source, id, mac in conflicts
                if (source, id, mac) not in there
            ]
            if new:
                self.connection.execute(insert(event_conflict), new)


def body_of(one: Incoming | Unreadable) -> str:
    """What the quarantine keeps of a line."""
    return line(one) if isinstance(one, Incoming) else one.body


def contracts_of(connection: Connection, customer: str, at_us: int) -> list[ContractVersion] | None:
    """A customer's contracts, the newest first; None for an unknown customer."""
    if not customers.known(connection, customer):
        return None
    return contracts.of_customer(connection, customer, at_us)[::-1]


def _rows(connection: Connection, table: Table, keys: Sequence[Key]) -> Sequence[Row[Any]]:
    # Source by source: SQLite reads the whole table for a list of pairs.
    ids: dict[str, list[str]] = {}
    for source, id in keys:
        ids.setdefault(source, []).append(id)
    wanted = [and_(table.c.source == source, table.c.event_id.in_(found)) for source, found in ids.items()]
    return connection.execute(select(table).where(or_(*wanted))).all() if wanted else []


def _chunks(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    source = iter(lines)
    while chunk := list(itertools.islice(source, CHUNK)):
        yield chunk
