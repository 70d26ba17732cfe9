"""`show cases`: published companies as time lines, and published runs with the planner's error on each."""

from __future__ import annotations

import math
from typing import Any

from ..errors import ProjectError
from ..plan.backtest import predict
from ..plan.cases import Case, published
from ..plan.companies import Reported, gap_months, of
from ..plan.companies import reported as companies
from ..plan.utilisation import reported as utilisation
from .plan_tables import reported
from .table import number, table
from .voice import Voice, translate


def cases(voice: Voice, name: str | None) -> None:
    """All companies and families of runs; or the time line of a company, or runs by a part of their name."""
    if name is None:
        _all(voice)
    elif name.lower() in {one.company.lower() for one in companies()}:
        _company(voice, name)
    else:
        _runs(voice, name)


def _all(voice: Voice) -> None:
    rows = []
    for company in dict.fromkeys(one.company for one in companies()):
        its = [one for one in companies() if one.company == company]
        dates = sorted(one.date for one in its)
        rows.append([company, str(len(its)), str(len({one.metric for one in its})), dates[0], dates[-1]])
    families: dict[str, list[Case]] = {}
    for one in published():
        families.setdefault(one.family, []).append(one)
    runs = [[family, str(len(its))] for family, its in sorted(families.items(), key=lambda i: -len(i[1]))]
    result = {
        "companies": [
            dict(zip(("company", "numbers", "metrics", "from", "to"), row, strict=True)) for row in rows
        ],
        "runs": [{"family": family, "rows": int(count)} for family, count in runs],
    }
    voice.done(
        result,
        lambda: "\n\n".join(
            [
                table(["company", "numbers", "metrics", "from", "to"], rows),
                table(["runs of", "rows"], runs),
                translate("one of them: modelyard show cases NAME"),
            ]
        ),
    )


def _company(voice: Voice, name: str) -> None:
    its = of(name)
    rows: list[list[str]] = []
    last: Reported | None = None
    for one in its:
        gap = gap_months(last, one) if last is not None and last.metric == one.metric else None
        if gap is not None:
            rows.append(["", "", translate("gap: {months} months without a number", months=gap), "", "", ""])
        rows.append(
            [
                translate(one.metric) if last is None or last.metric != one.metric else "",
                one.date,
                reported(one),
                translate(one.basis),
                translate(one.confidence),
                one.source,
            ]
        )
        last = one
    told: list[dict[str, Any]] = [
        {
            "metric": one.metric,
            "date": one.date,
            "value": one.value,
            "low": one.low,
            "high": one.high,
            "unit": one.unit,
            "basis": one.basis,
            "note": one.note,
            "source": one.source,
            "confidence": one.confidence,
        }
        for one in its
    ]
    head = ["metric", "date", "value", "basis", "confidence", "source"]
    voice.done({"company": its[0].company, "numbers": told}, lambda: table(head, rows))


def _runs(voice: Voice, name: str) -> None:
    found = [one for one in published() if name.lower() in f"{one.name} {one.organisation}".lower()]
    if not found:
        raise ProjectError(
            f"no company and no published run is called {name!r}",
            try_="`modelyard show cases` lists them",
        )
    rows, told = [], []
    for one in found:
        row, share = predict(one), utilisation(one)
        factor = None
        if share is not None and row.utilisation is not None:
            factor = math.exp(abs(math.log(share) - row.utilisation.log))
        told.append(
            {
                "name": one.name,
                "organisation": one.organisation,
                "hardware": one.hardware,
                "devices": one.devices,
                "parameters": one.active,
                "tokens": one.tokens,
                "gpu_hours": one.gpu_hours,
                "gpu_hours_predicted": row.gpu_hours.value if row.gpu_hours else None,
                "error_factor": factor,
                "source": one.source,
                "confidence": one.confidence,
            }
        )
        rows.append(
            [
                one.name,
                f"{number(one.devices)} x {one.hardware}",
                number(one.tokens),
                number(one.gpu_hours),
                number(row.gpu_hours.value if row.gpu_hours else None),
                number(factor),
                one.source.split(" [")[0][:60],
            ]
        )
    head = ["run", "on", "tokens", "GPU hours", "predicted", "error factor", "source"]
    voice.done({"runs": told}, lambda: table(head, rows))
