"""`plan`: what a training run takes, and how well such predictions do on published ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from .. import plan as room
from ..errors import ProjectError
from ..plan.backtest import SHARE, Range, Row, Score
from ..plan.cases import RATES
from ..plan.whatif import PRESUMED
from .table import number, table
from .voice import Voice, translate, verb

WIDEST = 44  # characters of a name in the table
SHORT = 4  # characters of a name that says nothing without who it is from, such as 7b


@click.command()
@click.option("--model", metavar="CONFIG", help="A size such as 7B, a config.json, or a folder with one.")
@click.option("--tokens", metavar="N", help="Tokens to train on, such as 300B.")
@click.option("--on", metavar="DEVICE:N", help="A device of the catalogue and how many, such as H100:8.")
@click.option("--method", type=click.Choice(["full", "lora", "qlora"]), default="full", help="What learns.")
@click.option(
    "--layout", metavar="TEXT", default="", help="Such as FSDP8 or TP4 PP2; else the plainest that fits."
)
@click.option("--sequence", type=click.IntRange(1, 1 << 24), default=2048, help="Tokens of a sequence.")
@click.option(
    "--micro-batch", type=click.IntRange(1, 1 << 16), default=1, help="Sequences of a device at once."
)
@click.option(
    "--backtest", metavar="FILE", help="Predict the runs of a CSV table, and score what it reports."
)
@verb("plan")
def plan(voice: Voice, folder: Path, backtest: str | None, **asked: Any) -> None:
    """Predict what a training run takes in time, money, energy and memory, each with its interval."""
    if backtest is not None:
        cases = room.read(folder / backtest)
        rows = [room.predict(case) for case in cases]
        score = room.score(cases, rows)
        voice.done(
            {"rows": [_object(row) for row in rows], "score": _scored(score) if score else None},
            lambda: "\n\n".join(_page(cases, rows, score)),
        )
        return
    model, tokens, on = (asked.pop(name) for name in ("model", "tokens", "on"))
    lacking = [f"--{name}" for name, value in (("model", model), ("tokens", tokens), ("on", on)) if not value]
    if lacking:
        raise ProjectError(
            f"a plan needs {', '.join(lacking)}",
            try_="modelyard plan --model 7B --tokens 300B --on H100:8, or --backtest FILE.csv",
        )
    device, devices = room.devices_of(on)
    found = room.run(room.model_of(model), room.number(tokens), device, devices, **asked)
    voice.done(_run(found), lambda: "\n\n".join(_sheet(found)))


def _run(found: room.Run) -> dict[str, Any]:
    device, price = found.device, found.device.rent_usd_per_hour
    return {
        "model": {"parameters": found.model.parameters, "shape": asdict(found.model.shape)},
        "devices": {"name": device.name, "count": found.devices, "source": device.source},
        "layout": asdict(found.split) | {"recompute": found.recompute},
        "flop": found.flop,
        **{
            name: asdict(value) if value else None
            for name, value in (
                ("hours", found.hours),
                ("device_hours", found.device_hours),
                ("cost_usd", found.cost_usd),
                ("project_usd", found.project_usd),
                ("energy_kwh", found.energy_kwh),
            )
        },
        "rent_usd_per_hour": dict(zip(("low", "typical", "high"), price, strict=True)) if price else None,
        "priced": device.priced,
        "memory_gib": {
            **found.memory_gib,
            "all": sum(found.memory_gib.values()),
            "the device has": device.memory_gib,
        },
        "interval": SHARE,
        "nearest": [
            {
                "name": one.case.name,
                "hardware": one.case.hardware,
                "devices": one.case.devices,
                "parameters": one.case.active,
                "tokens": one.case.tokens,
                "gpu_hours": one.case.gpu_hours,
                "utilisation": one.utilisation,
                "source": one.case.source or RATES,
                "confidence": one.case.confidence,
            }
            for one in found.nearest
        ],
        "why": list(found.assumed),
    }


def _sheet(found: room.Run) -> list[str]:
    device, price = found.device, found.device.rent_usd_per_hour
    rows = [
        [translate("hours"), _told(found.hours), ""],
        [translate("device hours"), _told(found.device_hours), f"{found.devices} x {device.name}"],
    ]
    if price:
        low, typical, high = (f"{one:.3g}" for one in price)
        said = "{typical} USD an hour ({low} to {high}, {when})"
        at = translate(said, typical=typical, low=low, high=high, when=device.priced)
        rows.append([translate("cost, USD"), _told(found.cost_usd), at])
        rows.append(
            [translate("project, USD"), _told(found.project_usd), translate("with what is tried before it")]
        )
    rows.append([translate("energy, kWh"), _told(found.energy_kwh), translate("devices and building")])
    share = f"{found.flop / PRESUMED:.2g}"
    of = translate("{share} of what the EU presumes general-purpose models from", share=share)
    rows.append([translate("operations"), f"{found.flop:.2g}", of])
    memory = [[translate(name), f"{gib:.1f}"] for name, gib in found.memory_gib.items() if gib >= 0.05]
    memory.append([translate("all"), f"{sum(found.memory_gib.values()):.1f}"])
    memory.append([translate("the device has"), f"{device.memory_gib:g}"])
    return [
        table(["of the run", "80% interval", "from"], rows),
        table(["memory of a device", "GiB"], memory),
        table(["nearest published run", "on", "GPU hours", "of the peak"], _nearest(found)),
        "\n".join(f"- {translate(line)}" for line in found.assumed),
    ]


def _nearest(found: room.Run) -> list[list[str]]:
    return [
        [
            one.case.name if len(one.case.name) > SHORT else f"{one.case.organisation} {one.case.name}",
            f"{number(one.case.devices)} x {one.case.hardware}",
            number(one.case.gpu_hours),
            number(one.utilisation, "share"),
        ]
        for one in found.nearest
    ]


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
                _told(row.gpu_hours),
                number(case.gpu_hours),
                _told(row.tokens_per_s),
                number(case.tokens_per_s),
                number(row.memory_gib),
            ]
        )
    head = ["run", "GPU hours", "reported", "tokens/s a device", "reported", "GiB a device"]
    parts = [table(head, lines)]
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


def _told(found: Range | None) -> str:
    if found is None:
        return "-"
    return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"
