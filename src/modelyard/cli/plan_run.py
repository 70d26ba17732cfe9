"""`plan --model --tokens --on`: one training run on given devices, as tables and as an object."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import plan as room
from ..errors import ProjectError
from ..plan.backtest import SHARE
from ..plan.cases import RATES
from ..plan.nearest import nearest
from ..plan.whatif import PRESUMED
from . import plan_serving
from .plan_tables import estimate
from .table import number, table
from .voice import Voice, translate

SHORT = 4  # characters of a name that says nothing without who it is from, such as 7b


def train(voice: Voice, folder: Path, asked: dict[str, Any]) -> None:
    """One training run on given devices."""
    model, tokens, on, active, teacher = (
        asked[name] for name in ("model", "tokens", "on", "active", "teacher")
    )
    lacking = [f"--{name}" for name, value in (("model", model), ("tokens", tokens), ("on", on)) if not value]
    if lacking:
        raise ProjectError(
            f"a plan needs {', '.join(lacking)}",
            try_="modelyard plan --model 7B --tokens 300B --on H100:8, or --backtest FILE.csv",
        )
    trained, count = room.model_of(model, active), room.number(tokens)
    if on == "here":
        plan_serving.here(voice, folder, trained, count, asked["method"])
        return
    if count < asked["sequence"]:
        raise ProjectError(
            f"{count:g} tokens fill no sequence of {asked['sequence']}",
            try_=f"{count:g}B, where billions are meant",
        )
    device, devices = room.devices_of(on)
    found = room.run(
        *(trained, count, device, devices),
        method=asked["method"],
        layout=asked["layout"],
        sequence=asked["sequence"],
        micro_batch=asked["micro_batch"],
        teacher=room.number(teacher) if teacher else 0.0,
    )
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
        "goodput": found.goodput,
        "sent_gib": dict(found.sent_gib),
        "link_gb_per_s": found.link_gb_per_s,
        "pipeline_waits": found.waiting,
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
            for one in nearest(found.case)
        ],
        "why": list(found.assumed),
    }


def _sheet(found: room.Run) -> list[str]:
    device, price = found.device, found.device.rent_usd_per_hour
    rows = [
        [translate("hours"), estimate(found.hours), ""],
        [translate("device hours"), estimate(found.device_hours), f"{found.devices} x {device.name}"],
    ]
    if price:
        low, typical, high = (f"{one:.3g}" for one in price)
        said = "{typical} USD an hour ({low} to {high}, {when})"
        at = translate(said, typical=typical, low=low, high=high, when=device.priced)
        rows.append([translate("cost, USD"), estimate(found.cost_usd), at])
        rows.append(
            [
                translate("project, USD"),
                estimate(found.project_usd),
                translate("with what is tried before it"),
            ]
        )
    rows.append([translate("energy, kWh"), estimate(found.energy_kwh), translate("devices and building")])
    share = f"{found.flop / PRESUMED:.2g}"
    of = translate("{share} of what the EU presumes general-purpose models from", share=share)
    rows.append([translate("operations"), f"{found.flop:.2g}", of])
    rows.append(
        [translate("goodput"), f"{found.goodput:.2f}", translate("of a measured rate, in whole runs")]
    )
    if found.sent_gib:
        sent = ", ".join(f"{translate(name)} {gib:.2g} GiB" for name, gib in found.sent_gib.items())
        rows.append([translate("link, GB/s"), number(found.link_gb_per_s), sent])
    if found.waiting:
        rows.append(
            [translate("pipeline waits"), f"{found.waiting:.0%}", translate("of a step of 8 micro-batches")]
        )
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
        for one in nearest(found.case)
    ]
