"""`plan --backtest`: the runs of a table predicted, and scored by what they report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import plan as room
from ..plan.backtest import SHARE, Range, Row, Score
from .plan_tables import estimate
from .table import number, table
from .voice import Voice, said, translate

WIDEST = 44  # characters of a name in the table


def backtest(voice: Voice, path: Path) -> None:
    cases = room.read(path)
    rows = [room.predict(case) for case in cases]
    score = room.score(cases, rows)
    voice.done(
        {"rows": [_object(row) for row in rows], "score": _scored(score) if score else None},
        lambda: "\n\n".join(_page(cases, rows, score)),
    )


def _object(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        **_range("gpu_hours", "gpu_hours", row.gpu_hours),
        **_range("tokens_per_s_per_device", "tokens_per_s", row.tokens_per_s),
        "memory_gib": row.memory_gib,
        "cost_usd": row.cost_usd,
        "why": row.why,
    }


def _range(name: str, short: str, found: Range | None) -> dict[str, float | None]:
    return {
        name: found.value if found else None,
        f"{short}_low": found.low if found else None,
        f"{short}_high": found.high if found else None,
    }


def _scored(score: Score) -> dict[str, Any]:
    low, high = score.gain_interval or (None, None)
    return {
        "rows": score.rows,
        "median_error_factor": score.median_factor,
        "within_1.25": score.within_1_25,
        "within_1.5": score.within_1_5,
        "interval": SHARE,
        "coverage": score.coverage,
        "interval_width_factor": score.width_factor,
        "crps_log": score.crps,
        "baseline": {
            "is": "one utilisation for each device",
            "median_error_factor": score.baseline_median_factor,
            "within_1.5": score.baseline_within_1_5,
            "crps_log": score.baseline_crps,
        },
        "crps_gain": {"value": score.gain, "low": low, "high": high},
    }


def _page(cases: Sequence[room.Case], rows: Sequence[Row], score: Score | None) -> list[str]:
    lines = []
    for case, row in zip(cases, rows, strict=True):
        name = row.name if len(row.name) <= WIDEST else row.name[: WIDEST - 1] + "…"
        lines.append(
            [
                name,
                estimate(row.gpu_hours),
                number(case.gpu_hours),
                estimate(row.tokens_per_s),
                number(case.tokens_per_s),
                number(row.memory_gib),
            ]
        )
    head = ["run", "GPU hours", "reported", "tokens/s a device", "reported", "GiB a device"]
    parts = [table(head, lines)]
    if unknown := [f"- {row.name}: {said(row.why)}" for row in rows if row.tokens_per_s is None]:
        parts.append("\n".join(unknown))
    if score is None:
        return [*parts, translate("no row reports what it took, so nothing is scored")]
    low, high = score.gain_interval or (None, None)
    baseline = translate("one utilisation for each device")
    told = [
        [
            translate("ours"),
            f"{score.median_factor:.3f}",
            f"{score.within_1_25:.2f}",
            f"{score.within_1_5:.2f}",
        ],
        [baseline, f"{score.baseline_median_factor:.3f}", "", f"{score.baseline_within_1_5:.2f}"],
    ]
    told[0] += [f"{score.coverage:.2f}", f"{score.crps:.4f}"]
    told[1] += ["", f"{score.baseline_crps:.4f}"]
    parts.append(
        table(
            ["prediction", "median error", "within 1.25", "within 1.5", "in the 80% interval", "CRPS"], told
        )
    )
    parts.append(
        translate(
            "{rows} rows are scored; the CRPS of the baseline is worse by {gain} [{low}, {high}]",
            rows=score.rows,
            gain=f"{score.gain:.4f}",
            low=number(low),
            high=number(high),
        )
    )
    return parts
