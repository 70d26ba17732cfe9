"""Where requests spend their time, from the log of requests: it knows times, nothing of what was said."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from ..records.tables.service import request_time

NEWEST = 10_000  # requests that are looked at; enough for every percentile shown

ADVICE = {
    "queue": "requests wait for the engine: a smaller or more quantised candidate, more threads, "
    "or a second machine; fewer requests at once per key keep the wait fair",
    "prefill": "reading the prompts takes longest: fewer or shorter passages (ground), a shorter prompt, "
    "or a candidate that reads faster",
    "decode": "writing the answers takes longest: a smaller or more quantised candidate, more threads, "
    "or shorter answers (max_tokens)",
    "database": "the commits take longest: put .yard on a faster local disk, never on a network share",
    "client": "clients take their answers slowly: look at the network between them and the service",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of the way of a request. Times are microseconds."""

    name: str
    total_us: int
    per_mille: int
    """Share of all time, in thousandths."""
    median_us: int
    p95_us: int


@dataclass(frozen=True, slots=True)
class Slow:
    """What the log says: the stages, longest first; `why` where it says nothing."""

    requests: int
    median_us: int
    p95_us: int
    stages: tuple[Stage, ...]
    why: str = ""

    @property
    def bottleneck(self) -> str | None:
        """The stage that takes most of the time; None when nothing was measured."""
        return self.stages[0].name if self.stages else None


def slow(connection: Connection, since_us: int) -> Slow:
    """Where the newest requests since `since_us` spent their time."""
    columns = [request_time.c[f"{name}_us"] for name in ADVICE]
    rows = connection.execute(
        select(*columns)
        .where(request_time.c.at_us >= since_us)
        .order_by(request_time.c.at_us.desc())
        .limit(NEWEST)
    ).all()
    whole = sum(sum(row) for row in rows)
    if not whole:
        return Slow(len(rows), 0, 0, (), why="no request was answered in this time")
    stages = []
    for at, name in enumerate(ADVICE):
        times = sorted(row[at] for row in rows)
        total = sum(times)
        stages.append(Stage(name, total, 1000 * total // whole, _rank(times, 50), _rank(times, 95)))
    stages.sort(key=lambda stage: -stage.total_us)
    all_ = sorted(sum(row) for row in rows)
    return Slow(len(rows), _rank(all_, 50), _rank(all_, 95), tuple(stages))


def _rank(ordered: list[int], percent: int) -> int:
    """The nearest-rank percentile."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
