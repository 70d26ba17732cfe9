"""`plan --serve` and `plan --on here`: how many machines answer a load, and what a run takes on this one."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from .. import plan as room
from ..errors import NoRoom, ProjectError
from ..estimate.economics import usd_per_mtok
from ..estimate.serving import Speed, cache_bytes_per_token, roofline
from ..plan.backtest import Range
from ..plan.capacity import MOST, SLOTS, Load, alone_s, machines
from ..plan.memory import GIB
from ..plan.training import local
from .plan_tables import between
from .planned import here as inputs_here
from .table import number, table
from .voice import Voice, said, translate

ENDS = ("low", "middle", "high")  # of what engines reach of a device


def serve(voice: Voice, asked: dict[str, Any]) -> None:
    """Machines, speed, memory and cost of a load. Raises NoRoom for a model that does not fit."""
    lacking = [f"--{name}" for name in ("model", "on") if not asked[name]]
    if lacking:
        raise ProjectError(
            f"a plan needs {', '.join(lacking)}", try_="modelyard plan --model 7B --on H100 --serve 5"
        )
    model, (device, devices) = room.model_of(asked["model"], asked["active"]), room.devices_of(asked["on"])
    load = Load(room.number(asked["serve"]), asked["input_tokens"], asked["output_tokens"], asked["p95_s"])
    context = load.input_tokens + load.output_tokens / 2
    cache = cache_bytes_per_token(model.shape) * (load.input_tokens + load.output_tokens)
    weights = model.parameters * asked["bits"] / 8
    slots = min(SLOTS, int((device.memory_gib * devices * 0.9 * GIB - weights) / cache))
    if slots < 1:
        raise NoRoom(
            f"{weights / GIB:.1f} GiB of weights and {cache / GIB:.2f} GiB of keys and values do not fit "
            f"{device.memory_gib * devices:.0f} GiB of {devices} x {device.name}",
            try_="more devices, fewer --bits, or shorter --input and --output",
        )
    found: dict[str, Any] = {}
    why = ["uncalibrated: rated peak and bandwidth, and what engines reach of them"]
    hour = device.rent_usd_per_hour[1] * devices if device.rent_usd_per_hour else None
    if hour is None:
        why.append("no price in the catalogue, so no cost")
    for reached, name in enumerate(ENDS):
        speed = roofline(
            model.shape,
            bits=asked["bits"],
            active=model.met,
            context=context,
            peak_flops=device.tflops_16bit * 1e12 * devices,
            bytes_per_s=device.memory_gb_per_s * 1e9 * devices,
            reached=reached,
        )
        capacity = machines(speed, load, slots=slots)
        if capacity is None:
            why.append(_none(name, speed, load, slots))
        tokens = (load.input_tokens + load.output_tokens) * (capacity.most_per_s if capacity else 0)
        found[name] = {
            "prefill_tps": speed.prefill_tps,
            "decode_tps_1": speed.decode_tps(1),
            "decode_tps_8": speed.decode_tps(8),
            "machines": capacity.machines if capacity else None,
            "p95_s": capacity.p95_s if capacity else None,
            "busy": capacity.busy if capacity else None,
            "usd_per_month": capacity.machines * hour * 730 if capacity and hour else None,
            "usd_per_mtok": usd_per_mtok(hour, tokens, 1.0) if capacity and hour else None,
        }
    result = {
        "devices": {"name": device.name, "each": devices, "source": device.source},
        "load": asdict(load),
        "cache_gib_per_request": cache / GIB,
        "requests_at_once": slots,
        "reached": found,
        "why": why,
    }
    voice.done(result, lambda: _served(result))


def _none(end: str, speed: Speed, load: Load, slots: int) -> str:
    """Why no number of machines carries the load."""
    alone = alone_s(speed, load, slots=slots)
    if alone > load.p95_s:
        return f"{end}: 95 of 100 answers alone take {alone:.3g} s, and {load.p95_s:g} are allowed"
    return f"{end}: {MOST} machines are too few"


def _served(result: dict[str, Any]) -> str:
    names = {
        "machines": "machines",
        "p95_s": "95 of 100 answers within, s",
        "busy": "busy at the peak",
        "decode_tps_1": "tokens/s, one caller",
        "decode_tps_8": "tokens/s, eight callers",
        "prefill_tps": "tokens/s read",
        "usd_per_month": "USD a month",
        "usd_per_mtok": "USD / 1M tokens, if always full",
    }
    rows = [
        [translate(text), *(number(result["reached"][end][name]) for end in ENDS)]
        for name, text in names.items()
    ]
    load = translate(
        "{rate} requests a second, {read} tokens read and {written} written, 95 of 100 within {p95} s",
        rate=number(result["load"]["requests_per_s"]),
        read=number(result["load"]["input_tokens"]),
        written=number(result["load"]["output_tokens"]),
        p95=number(result["load"]["p95_s"]),
    )
    told = translate(
        "{cache} GiB of keys and values a request, {slots} at once on {each} x {name}",
        cache=number(result["cache_gib_per_request"]),
        slots=result["requests_at_once"],
        each=result["devices"]["each"],
        name=result["devices"]["name"],
    )
    lines = [load, told, *(said(line) for line in result["why"])]
    return "\n\n".join([table(["of the load", *ENDS], rows), "\n".join(f"- {line}" for line in lines)])


def here(voice: Voice, folder: Path, model: room.Model, tokens: float, method: str) -> None:
    """A run on this machine, by the yard's own runs where there are any. Raises NoRoom."""
    inputs = inputs_here(folder, date.today())
    found = local(inputs, "full" if method == "full" else "lora", model.parameters, tokens)
    if found is None:
        raise NoRoom(
            f"{model.parameters:.3g} parameters do not learn in {inputs.here.device.memory_gib:.0f} GiB",
            try_="a smaller model, or --method lora",
        )
    price = inputs.here.usd_per_hour[1]
    cost = Range(*(hours * price for hours in (found.hours.value, found.hours.low, found.hours.high)))
    result = {
        "hours": {"value": found.hours.value, "low": found.hours.low, "high": found.hours.high},
        "cost_usd": {"value": cost.value, "low": cost.low, "high": cost.high},
        "memory_gib": found.memory_gib,
        "usd_per_hour": price,
        "priced": inputs.here.priced,
        "basis": found.basis,
    }
    rows = [
        [translate("hours"), between(found.hours), said(found.basis)],
        [translate("cost, USD"), between(cost), said(inputs.here.priced)],
        [translate("memory, GiB"), number(found.memory_gib), ""],
    ]
    voice.done(result, lambda: table(["of the run", "80% interval", "from"], rows))
