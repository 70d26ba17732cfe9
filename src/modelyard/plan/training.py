"""What a training run takes on an option: by the yard's own runs if there are any, else by published ones."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import NoRoom
from ..estimate.operations import training_token
from .backtest import Range
from .inputs import Inputs
from .memory import decoder_of
from .options import Option
from .utilisation import SEQUENCE
from .whatif import Method, Model, run

# Of a run on the same kind of machine, from one week to another: machines of one name differ by 15%, and
# other methods and lengths by as much again (bench/results/plan.json). 80%.
AGAIN = 1.25
UNMEASURED = 2.0  # of a processor that nobody has run on


@dataclass(frozen=True, slots=True)
class Training:
    """Hours of a run and devices, with where the speed comes from."""

    hours: Range
    devices: int
    memory_gib: float | None
    basis: str


def train(
    inputs: Inputs, option: Option, *, method: Method, parameters: float, tokens: float, teacher: float = 0.0
) -> Training | None:
    """A run of `tokens`; `teacher` parameters answer beside it. None where it does not fit."""
    dearer = 1 + 2 * teacher / training_token(parameters, SEQUENCE, frozen=method != "full")
    if option.kind == "here":
        return local(inputs, method, parameters, tokens, teacher)
    model = Model(parameters, decoder_of(parameters), guessed=True)
    devices = 1
    while True:
        try:
            found = run(model, tokens, option.device, devices, method=method)
            break
        except NoRoom:
            devices *= 8
            if devices > 64 or method != "full":
                return None
    hours = Range(*(one * dearer for one in (found.hours.value, found.hours.low, found.hours.high)))
    return Training(hours, devices, sum(found.memory_gib.values()), "published runs: uncalibrated")


def local(
    inputs: Inputs, method: Method, parameters: float, tokens: float, teacher: float = 0.0
) -> Training | None:
    """A run here; `teacher` parameters answer beside it, in float32. None where it does not fit."""
    whole = method == "full"
    dearer = 1 + 2 * teacher / training_token(parameters, SEQUENCE, frozen=not whole)
    need_gib = ((16 if whole else 5) * parameters + 4 * teacher) / 2**30 + 1
    if need_gib > inputs.here.device.memory_gib * 0.92:
        return None
    alike = [one for one in inputs.standing.tuned if one.whole == whole] or list(inputs.standing.tuned)
    if alike:
        base = inputs.standing.value("model.parameters") or inputs.parameters
        mine = training_token(base, SEQUENCE, frozen=not alike[0].whole)
        rate = alike[0].tokens_per_s * mine / training_token(parameters, SEQUENCE, frozen=not whole)
        spread, basis = AGAIN, f"measured: record {alike[0].record}"
    else:
        useful = inputs.here.device.tflops_16bit * 1e12
        rate = useful / training_token(parameters, SEQUENCE, frozen=not whole)
        spread, basis = UNMEASURED, "assumed of this kind of processor: uncalibrated"
    hours = tokens / rate / 3600 * dearer
    return Training(Range(hours, hours / spread, hours * spread), 1, need_gib, basis)
