"""The data sheet: what came in, what was kept, and by which rule each of the rest was dropped."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Literal

from .settings import Source

# "rows": lines of JSONL that could not be told to be a document or a pair.
Kind = Literal["documents", "pairs", "rows"]
KINDS: tuple[Kind, ...] = ("documents", "pairs", "rows")


class Sheet:
    """Counts items in and out, and holds the rows of dropped.jsonl.

    `redact` is what the names of items go through: a file may be called after someone's address.
    """

    def __init__(self, redact: Callable[[str], str] = str) -> None:
        self._redact = redact
        self.dropped: list[dict[str, str]] = []
        self.redacted: Counter[str] = Counter()
        self._ingested: Counter[tuple[str, Kind]] = Counter()
        self._kept: Counter[tuple[str, Kind]] = Counter()
        self._rules: dict[tuple[str, Kind], Counter[str]] = defaultdict(Counter)

    def ingest(self, source: str, kind: Kind) -> None:
        """An item came in."""
        self._ingested[source, kind] += 1

    def keep(self, source: str, kind: Kind) -> None:
        """An item stands in the corpus."""
        self._kept[source, kind] += 1

    def drop(self, source: str, kind: Kind, item: str, rule: str, detail: str = "") -> None:
        """An item was left out; `detail` holds no text of it."""
        self._rules[source, kind][rule] += 1
        self.dropped.append(
            {"source": source, "item": self._redact(item), "rule": rule, "detail": self._redact(detail)}
        )

    def ingested(self, kind: Kind) -> int:
        """How many came in, over all sources."""
        return sum(count for (_, k), count in self._ingested.items() if k == kind)

    def rules(self) -> Counter[str]:
        """How many items each rule dropped."""
        return sum(self._rules.values(), Counter[str]())

    def table(self) -> str:
        """The rules as lines of text, most frequent first."""
        counts = sorted(self.rules().items(), key=lambda item: (-item[1], item[0]))
        return "\n".join(f"  {count:>8,}  {rule}" for rule, count in counts)

    def rows(self, sources: tuple[Source, ...]) -> list[dict[str, Any]]:
        """One row a source. Raises ValueError when something was neither kept nor dropped."""
        return [self._row(source) for source in sources]

    def _row(self, source: Source) -> dict[str, Any]:
        row: dict[str, Any] = {
            "source": source.path,
            "licence": source.licence,
            "owner": source.owner,
            "basis": source.basis,
            "redacted": self.redacted[source.path],
        }
        for kind in KINDS:
            at = (source.path, kind)
            rules: Mapping[str, int] = self._rules[at]
            if self._ingested[at] != self._kept[at] + sum(rules.values()):
                raise ValueError(
                    f"{source.path}: {self._ingested[at]} {kind} came in, "
                    f"{self._kept[at]} were kept and {sum(rules.values())} dropped"
                )
            row[kind] = {
                "ingested": self._ingested[at],
                "kept": self._kept[at],
                "dropped": dict(sorted(rules.items())),
            }
        return row
