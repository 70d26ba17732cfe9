"""The figures of the plan: published runs, each family predicted from all others.

    python bench/plan.py

Writes the rows of bench/results/plan.json and the table of docs/plan.md, worst family first.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from statistics import median

import results
from asking import ROOT
from results import Figure

from modelyard.plan.backtest import SHARE, Row, Score, predict, score
from modelyard.plan.cases import Case, published
from modelyard.plan.memory import peaks
from modelyard.plan.utilisation import is_sure, is_whole, reported

PAGE = ROOT / "docs" / "plan.md"
BEGIN, END = "<!-- families: bench/plan.py -->", "<!-- end -->"


def main() -> None:
    """Predict, print, write."""
    cases = published()
    rows = [predict(case) for case in cases]
    whole = [at for at, case in enumerate(cases) if is_whole(case) and is_sure(case)]
    figures = [
        *_figures("all published rows", cases, rows),
        *_figures("whole runs", [cases[at] for at in whole], [rows[at] for at in whole]),
        *_memory(),
    ]
    text = PAGE.read_text("utf-8")
    table = "\n".join([BEGIN, *_families(cases, rows), END])
    PAGE.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: table, text, flags=re.S), "utf-8")
    results.tell("plan", figures, whole=True)


def _figures(what: str, cases: Sequence[Case], rows: Sequence[Row]) -> list[Figure]:
    found = score(cases, rows)
    if found is None:
        raise SystemExit(f"nothing was reported of {what}")
    told = f"{found.rows} rows, each family predicted from all others"
    low, high = _binomial(found)
    least, most = found.gain_interval or (None, None)
    return [
        Figure(
            f"{what}: median error factor",
            found.median_factor,
            "ratio",
            peer=found.baseline_median_factor,
            at_most=1.25,
            why=f"{told}; peer: one utilisation a device",
        ),
        Figure(
            f"{what}: farther off than 1.5 times",
            1 - found.within_1_5,
            "share",
            peer=1 - found.baseline_within_1_5,
            at_most=0.1,
            why=f"{told}; within 1.5 times: {found.within_1_5:.3f}, within 1.25: {found.within_1_25:.3f}",
        ),
        Figure(
            f"{what}: CRPS of the logarithm, the baseline's minus ours",
            found.gain,
            "nats",
            low=least,
            high=most,
            above=0,
            why=f"ours {found.crps:.4f}, one utilisation a device {found.baseline_crps:.4f}",
        ),
        Figure(
            f"{what}: distance of the coverage of 80% intervals from 80%",
            abs(found.coverage - SHARE),
            "share",
            at_most=high - SHARE,
            why=f"coverage {found.coverage:.3f}; a binomial test at 5% allows {low:.3f} to {high:.3f}",
        ),
        Figure(
            f"{what}: upper end of the 80% interval to its lower end, median",
            found.width_factor,
            "ratio",
        ),
    ]


def _memory() -> list[Figure]:
    off = [abs(peak.error) for peak in peaks()]
    worst = max(peaks(), key=lambda peak: abs(peak.error))
    told = f"{len(off)} published peaks of {', '.join(sorted({peak.framework for peak in peaks()}))}"
    return [
        Figure("memory of a device: median error", median(off), "share", at_most=0.05, why=told),
        Figure(
            "memory of a device: worst error",
            max(off),
            "share",
            at_most=0.12,
            why=f"{worst.framework}: {worst.name}, {worst.predicted:.1f} for {worst.reported:.1f} GiB",
        ),
    ]


def _binomial(found: Score) -> tuple[float, float]:
    half = 1.96 * math.sqrt(SHARE * (1 - SHARE) / found.rows)
    return SHARE - half, SHARE + half


def _families(cases: Sequence[Case], rows: Sequence[Row]) -> list[str]:
    """A line for each family, by the median of its error factors, worst first."""
    off: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for case, row in zip(cases, rows, strict=True):
        share = reported(case)
        if row.utilisation is not None and share is not None:
            off[case.family].append((math.exp(abs(math.log(share) - row.utilisation.log)), case.name))
    lines = [
        "| family | rows | median error factor | its worst row | error factor |",
        "|---|---|---|---|---|",
    ]
    ranked = sorted(off.items(), key=lambda item: -median(factor for factor, _ in item[1]))
    for family, found in ranked:
        worst, name = max(found)
        lines.append(
            f"| {family} | {len(found)} | {median(f for f, _ in found):.2f} | {name} | {worst:.2f} |"
        )
    return lines


if __name__ == "__main__":
    main()
