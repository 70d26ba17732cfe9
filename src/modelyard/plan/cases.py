"""Published training runs and measured rates: what was trained on what, and what was reported.

Two tables of columns are read: of whole runs (`training_runs.csv`) and of rates (`training_throughput.csv`).
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path

from ..errors import SourceError

RUNS, RATES = "training_runs.csv", "training_throughput.csv"
# What the columns of a table of rates are called in one of runs.
AS_RUN = {
    "Model": "name",
    "SeqLen (T)": "seq_len",
    "# GPUs": "devices",
    "GPU": "hardware",
    "GlobalBatchSize (T)": "batch_tokens",
    "Precision": "precision",
    "Sharding Strategy": "parallelism",
    "NumParams": "params_total",
    "Throughput (T/s/GPU)": "reported_tokens_per_s_per_device",
    "MicroBatchSize": "micro_batch",
    "Activation Checkpointing": "recompute",
}
POWERS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
NEEDED = ("hardware", "devices", "precision")


@dataclass(frozen=True, slots=True)
class Case:
    """One row: its technical inputs, and after them what was reported. None: the table does not say."""

    kind: str
    total: float | None
    """Parameters."""
    active: float | None
    """Parameters that a token meets."""
    tokens: float | None
    sequence: float | None
    batch_tokens: float | None
    micro_batch: float | None
    hardware: str
    devices: float | None
    precision: str
    parallelism: str
    recompute: bool | None
    year: float | None

    name: str = ""
    organisation: str = ""
    source: str = ""
    confidence: str = ""
    gpu_hours: float | None = None
    tokens_per_s: float | None = None
    """Of one device."""

    @property
    def technical(self) -> tuple[object, ...]:
        """All that a prediction may read."""
        return (
            *(self.kind, self.total, self.active, self.tokens, self.sequence, self.batch_tokens),
            *(self.micro_batch, self.hardware, self.devices, self.precision, self.parallelism),
            *(self.recompute, self.year),
        )

    @property
    def family(self) -> str:
        """Rows of one family share what was never written down: who ran them, with what code."""
        if self.name.startswith("MPT") or self.organisation == "MosaicML":
            return "mosaicml"
        if self.name.startswith("torchtitan"):
            return "torchtitan"
        return self.organisation.split("/")[0].strip().lower()


def read(path: Path) -> list[Case]:
    """The rows of a CSV with either table's columns, in their order.

    Raises SourceError for a file that cannot be read, or that lacks what every prediction needs.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            table = csv.DictReader(lines)
            rows, columns = list(table), list(table.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(
            f"the table cannot be read: {error}", where=str(path), try_="a CSV in UTF-8"
        ) from None
    known = {AS_RUN.get(column, column) for column in columns}
    lacking = [name for name in NEEDED if name not in known]
    if lacking:
        raise SourceError(
            f"the table lacks the columns {', '.join(lacking)}",
            where=str(path),
            try_="the columns that docs/plan.md lists",
        )
    return [case({AS_RUN.get(key, key): value or "" for key, value in row.items() if key}) for row in rows]


def case(row: Mapping[str, str]) -> Case:
    """One row, its columns named as in a table of runs."""
    total, active = (number(row.get(name, "")) for name in ("params_total", "params_active"))
    devices, days = number(row.get("devices", "")), number(row.get("reported_days", ""))
    hours = number(row.get("reported_gpu_hours", ""))
    if hours is None and days and devices:
        hours = days * 24 * devices
    again = row.get("recompute", "").strip().lower()
    return Case(
        kind=row.get("kind", "").strip().lower() or "pretrain",
        total=total if total is not None else active,
        active=active if active is not None else total,
        tokens=number(row.get("tokens", "")),
        sequence=number(row.get("seq_len", "")),
        batch_tokens=number(row.get("batch_tokens", "")),
        micro_batch=number(row.get("micro_batch", "")),
        hardware=row.get("hardware", "").strip(),
        devices=devices,
        precision=row.get("precision", "").strip().lower(),
        parallelism=row.get("parallelism", "").strip(),
        recompute={"true": True, "false": False}.get(again),
        year=number(row.get("year", "")),
        name=row.get("name", ""),
        organisation=row.get("org", ""),
        source=row.get("source", ""),
        confidence=row.get("confidence", ""),
        gpu_hours=hours,
        tokens_per_s=number(row.get("reported_tokens_per_s_per_device", "")),
    )


def degree(kind: str, how: str) -> int | None:
    """Of a layout's words, the number behind one: 8 of "tp" in "TP8 PP4"; None where it has none."""
    found = re.search(rf"(?<![a-z]){kind}\s?(\d+)", how.lower())
    return int(found[1]) or None if found else None


def number(text: str) -> float | None:
    """A positive finite number such as 7e9, 7,000 or 7B; None for anything else: a gap is a gap."""
    plain = text.strip().replace("_", "").replace(",", "").lower()
    found = re.fullmatch(r"([0-9]*\.?[0-9]+|[0-9]+\.)(e[+-]?[0-9]+)?\s*([kmbt]?)", plain)
    if found is None:
        return None
    value = float(found[1] + (found[2] or "")) * POWERS[found[3]]
    return value if math.isfinite(value) and value > 0 else None


@cache
def published() -> Sequence[Case]:
    """Both tables of the package."""
    place = files(__package__) / "cases"
    rates = [replace(one, organisation="MosaicML") for one in read(Path(str(place / RATES)))]
    return (*read(Path(str(place / RUNS))), *rates)
