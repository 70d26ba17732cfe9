"""What a training run takes on an option: by the yard's own runs if there are any, else by published ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..errors import NoRoom
from ..estimate.operations import training_token
from .backtest import Range
from .inputs import Inputs, Own
from .memory import decoder_of
from .options import Option
from .own import predict
from .utilisation import SEQUENCE
from .whatif import Method, Model, run

# Of a run on the same kind of machine, from one week to another: machines of one name differ by 15%, and
# other methods and lengths by as much again (bench/results/own.json). 80%.
AGAIN = 1.25
MOST = 0.92  # of a machine's memory may be taken
RANK = 16
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
    if option.kind == "here":
        return local(inputs, method, parameters, tokens, teacher)
    model = Model(parameters, decoder_of(parameters), guessed=True)
    devices = 1
    while True:
        try:
            found = run(model, tokens, option.device, devices, method=method, teacher=teacher)
            break
        except NoRoom:
            devices *= 8
            if devices > 64:
                return None
    return Training(found.hours, devices, sum(found.memory_gib.values()), "published runs: uncalibrated")


def local(
    inputs: Inputs, method: Method, parameters: float, tokens: float, teacher: float = 0.0
) -> Training | None:
    """A run here; `teacher` parameters answer beside it, in float32. None where it does not fit."""
    whole = method == "full"
    dearer = 1 + 2 * teacher / training_token(parameters, SEQUENCE, frozen=not whole)
    need_gib = ((16 if whole else 5) * parameters + 4 * teacher) / 2**30 + 1
    if need_gib > inputs.here.device.memory_gib * MOST:
        return None
    if inputs.own is not None:
        return _by_own(inputs.own, method, parameters, tokens, dearer, inputs.here.device.memory_gib)
    here = [one for one in inputs.standing.tuned if one.here]
    alike = [one for one in here if one.whole == whole] or here
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


def _by_own(
    own: Own, method: Method, parameters: float, tokens: float, dearer: float, holds: float
) -> Training | None:
    """By the yard's own run: the same shape with as many layers as the parameters are worth."""
    shape = own.done.shape
    layers = max(1, round(shape.layers * parameters / shape.parameters))
    asked = replace(
        own.done,
        shape=replace(shape, layers=layers),
        rank=None if method == "full" else own.done.rank or RANK,
        tokens=tokens * dearer,
    )
    found = predict(own.calibration, own.done, asked)
    size = sum(found.memory_gib.values())
    if size > holds * MOST:
        return None
    hours = Range(*(one / 3600 for one in (found.seconds.value, found.seconds.low, found.seconds.high)))
    return Training(hours, 1, size, found.basis)
