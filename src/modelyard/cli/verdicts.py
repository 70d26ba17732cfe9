"""The table at the end of `up`: candidates, their gates, the winner and why."""

from __future__ import annotations

from typing import Any

from ..records.shapes import Fact, Record
from .table import measured, table
from .voice import translate

COLUMNS = (
    ("quality.task", "quality.task"),
    ("cost.usd_per_1k_answers", "USD/1k answers"),
    ("latency.ttft_p95_s.c1", "first token s"),
    ("speed.decode_tps.c8", "tokens/s at 8"),
    ("memory.peak_gib", "GiB"),
)


def candidates_table(release: Record) -> str:
    """Every candidate with its main facts and what became of it, then the gates of the winner."""
    told = release.json("release.json")
    rows = []
    for candidate in told["candidates"]:
        found = {name: Fact(**fact) for name, fact in candidate["facts"].items()}
        cells = [measured(found[name]) if name in found else "-" for name, _ in COLUMNS]
        rows.append([candidate["label"], translate(candidate["fidelity"]), *cells, _outcome(candidate, told)])
    gates = [
        [gate["gate"], translate(_result(gate)), " ".join(filter(None, (gate["why"], gate.get("excused"))))]
        for gate in told["gates"]
    ]
    head = ["candidate", "measured", *(title for _, title in COLUMNS), "outcome"]
    return "\n\n".join(
        [
            table(head, rows),
            table(["gate of the winner", "result", "by"], gates),
            translate("winner: {why}", why=told["winner"]["why"]),
        ]
    )


def _result(gate: dict[str, Any]) -> str:
    return "excused" if gate.get("excused") else "held" if gate["passed"] else "failed"


def _outcome(candidate: dict[str, Any], told: dict[str, Any]) -> str:
    if candidate["verdict"] == told["winner"]["verdict"]:
        return translate("released")
    if candidate["failed"]:
        return translate(
            "failed: {gates}", gates="; ".join(f"{g['gate']}: {g['why']}" for g in candidate["failed"])
        )
    return translate(str(candidate["out"]))
