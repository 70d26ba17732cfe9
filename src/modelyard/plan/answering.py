"""How fast a model answers on an option, and how many of them the load needs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..estimate.serving import Speed, measured, roofline
from .capacity import Capacity, Load, machines
from .inputs import Inputs
from .memory import GIB, decoder_of
from .options import Option
from .speeds import Measured, predict
from .standing import Standing

BITS = {"here": 8.5, "own": 16.0, "rent": 16.0}  # of a weight as it is served: Q8_0 on CPUs, 16 bits on GPUs


@dataclass(frozen=True, slots=True)
class Answering:
    """A model on an option under the project's load."""

    option: Option
    speed: Speed
    capacity: Capacity | None
    basis: str
    memory_gib: float

    @property
    def usd_per_month(self) -> float | None:
        """Of the machines that the load needs, all hours of the month."""
        if self.capacity is None:
            return None
        return self.capacity.machines * self.option.usd_per_hour[1] * 730


def answer(inputs: Inputs, option: Option, parameters: float, *, smaller: float = 1.0) -> Answering | None:
    """None where the model does not fit. `smaller`: parameters as a share of the measured release's."""
    shape, bits = decoder_of(parameters), BITS[option.kind]
    gib = parameters * bits / 8 / GIB + 0.5
    if gib > option.device.memory_gib * 0.9:
        return None
    known = inputs.standing.speed
    base = inputs.standing.value("model.parameters")
    if option.kind == "here" and known is not None and base:
        speed = _scaled(inputs.standing, known, parameters / base)
        basis = inputs.standing.source("speed.decode_tps.c1")
    else:
        speed = roofline(
            shape,
            bits=bits,
            context=inputs.input_tokens + inputs.output_tokens / 2,
            peak_flops=option.device.tflops_16bit * 1e12,
            bytes_per_s=option.device.memory_gb_per_s * 1e9,
        )
        basis = "rated peak and bandwidth: uncalibrated"
    return Answering(option, speed, _capacity(inputs, speed), basis, gib)


def _scaled(standing: Standing, known: Speed, factor: float) -> Speed:
    """The release's speed, were its file `factor` times as large: by what raced beside it."""
    mine = next((one for one in standing.raced if standing.label.endswith(f"on {one.engine}")), None)
    if factor == 1 or mine is None:
        return replace(known, prefill_tps=known.prefill_tps / factor, weights_s=known.weights_s * factor)
    steps = {}
    for callers in (1, 8):
        rows = [
            Measured(one.engine, one.format, one.type, one.size_mib, one.step_s[callers])
            for one in standing.raced
        ]
        smaller, now = (
            predict(rows, mine.engine, mine.format, size, mine.type).value
            for size in (mine.size_mib * factor, mine.size_mib)
        )
        steps[callers] = known.step_s(callers) * smaller / now
    return measured(known.prefill_tps / factor, 1 / steps[1], 8 / steps[8])


def _capacity(inputs: Inputs, speed: Speed) -> Capacity | None:
    if inputs.load is None:
        return None
    load = Load(inputs.load.peak, inputs.input_tokens, inputs.output_tokens, inputs.load.p95_s)
    return machines(speed, load)
