"""One training run on given devices, before it is paid for: hours, money, energy, memory and traffic."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..errors import NoRoom, ProjectError
from ..estimate.communication import bubble, sent_bytes
from ..estimate.configuration import decoder
from ..estimate.energy import energy_kwh
from ..estimate.operations import training_token
from ..estimate.shape import Shape
from ..estimate.split import (
    NARROW,
    Split,
    Weights,
    adapters_bytes,
    attention_adapters,
    frozen_bytes,
    held_bytes,
    whole_bytes,
)
from . import cases
from .backtest import Range, timed
from .cases import Case, degree
from .devices import Device, catalogue, find
from .memory import GIB, SOFTENED, decoder_of, split_of

Method = Literal["full", "lora", "qlora"]
SMALLEST = 1e4  # parameters; less is a size without its letter
MICRO_BATCHES = 8  # of a pipeline's step
SPARE = 0.07  # of a device's memory, for the driver and for holes between what is allocated
# Of a final run, what the whole project costs: 1.5 (OLMo, arXiv:2503.05804) to 5.6 (Olmo 3's report).
PROJECT = (1.5, 2.0, 5.6)
# Operations from which the European Commission's guidelines of 2025-07 presume a general-purpose model.
PRESUMED = 1e23


@dataclass(frozen=True, slots=True)
class Model:
    """What is trained: its parameters, and its shape as told or as usual for the size."""

    parameters: float
    shape: Shape
    guessed: bool
    active: float | None = None
    """Parameters that a token meets, where they are fewer: a mixture of experts."""

    @property
    def met(self) -> float:
        """Parameters that a token meets."""
        return self.active or self.parameters


@dataclass(frozen=True, slots=True)
class Run:
    """What a run takes. Ranges hold 80%; money at the typical rent of the catalogue."""

    model: Model
    device: Device
    devices: int
    split: Split
    recompute: str
    flop: float
    hours: Range
    device_hours: Range
    cost_usd: Range | None
    project_usd: Range | None
    energy_kwh: Range | None
    memory_gib: dict[str, float]
    """Of one device, by term."""
    goodput: float
    """What a whole run reaches of a measured rate: restarts, evaluations and checkpoints take the rest."""
    sent_gib: dict[str, float]
    """Of one device and micro-batch, by what splits the model."""
    link_gb_per_s: float
    """What a device must send a second, for all of it to hide behind the products."""
    waiting: float
    """Share of a step that a pipeline's device waits, of eight micro-batches."""
    assumed: tuple[str, ...]
    case: Case


def number(text: str) -> float:
    """A count such as 7B, 1.5T, 300e9 or 80k. Raises ProjectError."""
    value = cases.number(text)
    if value is None or value >= 1e20:
        raise ProjectError(f"{text!r} is no count", try_="a number such as 7B, 1.5T or 80k")
    return value


def model_of(text: str, active: str | None = None) -> Model:
    """A size such as 7B, or a config.json, or a folder with one; `active` of them meet a token.

    Raises ProjectError for neither, for a size that no model has, for more active parameters than there are.
    """
    model = _model(text)
    if active is None:
        return model
    met = number(active)
    if met > model.parameters:
        raise ProjectError(
            f"{met:.3g} active parameters are more than the {model.parameters:.3g} of the model",
            try_="--active with the parameters that one token meets",
        )
    shape = decoder_of(model.parameters, met) if model.guessed else model.shape
    return replace(model, shape=shape, active=met)


def _model(text: str) -> Model:
    path = Path(text).expanduser()
    path = path / "config.json" if path.is_dir() else path
    if not path.is_file():
        if "/" in text or text.endswith(".json"):
            raise ProjectError("there is no such configuration", where=text, try_="a size such as 7B")
        size = number(text)
        if size < SMALLEST:
            raise ProjectError(
                f"{text} parameters are no language model", try_=f"{text}B, where billions are meant"
            )
        return Model(size, decoder_of(size), guessed=True)
    try:
        shape = decoder(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise ProjectError(f"the configuration cannot be read: {error}", where=str(path)) from None
    if shape is None:
        raise ProjectError("this configuration tells no decoder", where=str(path), try_="a size such as 7B")
    met = float(shape.met) if shape.idle else None
    return Model(float(shape.parameters), shape, guessed=False, active=met)


def devices_of(text: str) -> tuple[Device, int]:
    """A device and how many, such as H100:8. Raises ProjectError for an unknown one."""
    name, _, count = text.partition(":")
    device = find(name)
    if device is None:
        near = difflib.get_close_matches(name.upper(), catalogue(), n=3, cutoff=0.3)
        known = ", ".join(near or catalogue())
        raise ProjectError(f"no device of the catalogue is called {name!r}", try_=f"one of {known}")
    if count and not re.fullmatch(r"[1-9][0-9]{0,5}", count):
        raise ProjectError(f"{count!r} is no number of devices", try_=f"{device.name}:8")
    return device, int(count or 1)


def run(
    model: Model,
    tokens: float,
    device: Device,
    devices: int,
    *,
    method: Method = "full",
    layout: str = "",
    sequence: int = 2048,
    micro_batch: int = 1,
    teacher: float = 0.0,
) -> Run:
    """Predict one run. `layout` such as "FSDP8" or "TP4 PP2"; without one the plainest that fits.

    teacher: parameters of a model that answers beside it, on the same devices, frozen.

    Raises ProjectError for a layout that does not divide, NoRoom for a run that does not fit.
    """
    splits = [_told(layout, devices, model.shape)] if layout else _plain(devices)
    split, again, terms = _fitted(model, device, splits, method, sequence * micro_batch, teacher)
    case = Case(
        kind="pretrain" if method == "full" else method,
        total=model.parameters,
        active=model.met,
        tokens=tokens,
        sequence=float(sequence),
        batch_tokens=None,
        micro_batch=float(micro_batch),
        hardware=device.name,
        devices=float(devices),
        precision="nf4" if method == "qlora" else "bf16",
        parallelism=layout,
        recompute=again == "full",
        year=None,
    )
    # A layout would be taken for one code's: both shares are of nobody's code.
    row, rate = timed(case), timed(replace(case, tokens=None, parallelism="")).utilisation
    if row.hours is None or row.utilisation is None or rate is None:
        raise ProjectError(
            f"the run cannot be predicted: {'; '.join(row.gaps)}", try_="modelyard plan --help"
        )
    frozen = method != "full"
    own = training_token(model.met, sequence, frozen=frozen)
    both = 1 + 2 * teacher / own  # the teacher only reads: 2 N a token (arXiv:2001.08361)
    device_hours = _times(row.hours, both)
    hours = _times(device_hours, 1 / devices)
    assumed = ["uncalibrated: from published runs alone, none of them yours"]
    if model.guessed:
        assumed.append("layers, width and vocabulary guessed from the size")
    if not layout:
        assumed.append("the plainest layout that fits")
    cost = energy = project = None
    if device.rent_usd_per_hour:
        cost = _times(device_hours, device.rent_usd_per_hour[1])
        low, middle, high = PROJECT
        project = Range(cost.value * middle, cost.low * low, cost.high * high)
    else:
        assumed.append("no price in the catalogue, so no cost")
    if device.watts:
        energy = Range(
            energy_kwh(device_hours.value, device.watts)[1],
            energy_kwh(device_hours.low, device.watts)[0],
            energy_kwh(device_hours.high, device.watts)[2],
        )
    busy_s = sequence * micro_batch * own * both / (device.tflops_16bit * 1e12 * rate.share())
    copies = devices // (split.tensor * split.pipeline * split.context)
    sent = sent_bytes(
        *(model.shape, split, copies, sequence * micro_batch),
        trained=attention_adapters(model.shape) if frozen else None,
        weight_bytes=held_bytes(model.shape, "nf4") / model.parameters if method == "qlora" else NARROW,
    )
    if teacher and split.shards > 1:
        sent["teacher"] = NARROW * teacher * (1 - 1 / split.shards)
    return Run(
        *(
            model,
            device,
            devices,
            split,
            again,
            tokens * own * both,
            hours,
            device_hours,
            cost,
            project,
            energy,
        ),
        memory_gib={name: amount / GIB for name, amount in terms.items()},
        goodput=row.utilisation.share() / rate.share(),
        sent_gib={name: amount / GIB for name, amount in sent.items()},
        link_gb_per_s=sum(sent.values()) / 1e9 / busy_s,
        waiting=bubble(split, MICRO_BATCHES),
        assumed=tuple(assumed),
        case=case,
    )


def _times(found: Range, factor: float) -> Range:
    return Range(found.value * factor, found.low * factor, found.high * factor)


def _told(layout: str, devices: int, model: Shape) -> Split:
    """Raises ProjectError with what does not divide."""
    split = split_of(layout, devices)
    if split is None:
        raise ProjectError(f"{layout!r} names no layout", try_="words such as FSDP8, TP4, PP2, CP2, DDP")
    groups = split.tensor * split.pipeline * split.context
    if devices % groups:
        raise ProjectError(
            f"{devices} devices do not divide by TP{split.tensor} x PP{split.pipeline} x CP{split.context}",
            try_=f"a multiple of {groups} devices",
        )
    if model.heads % split.tensor:
        raise ProjectError(
            f"{model.heads} heads do not divide by TP {split.tensor}", try_="a TP that divides the heads"
        )
    if split.pipeline > model.layers:
        raise ProjectError(
            f"{model.layers} layers are fewer than PP {split.pipeline}", try_=f"at most PP{model.layers}"
        )
    asked = degree("fsdp", layout)
    if asked and asked != split.shards:
        raise ProjectError(
            f"{devices} devices leave {devices // groups} for FSDP, not {asked}",
            try_=f"FSDP over {devices // groups}",
        )
    return split


def _plain(devices: int) -> list[Split]:
    """A copy on each device, or one split over all."""
    return [Split()] if devices == 1 else [Split(), Split(devices)]


def _beside(teacher: float, split: Split) -> dict[str, float]:
    return {"teacher": sum(frozen_bytes(decoder_of(teacher), "16bit", split).values())} if teacher else {}


def _weights(method: Method) -> Weights:
    """As they are held."""
    return "nf4" if method == "qlora" else "16bit"


def _fitted(
    model: Model, device: Device, splits: list[Split], method: Method, tokens: int, teacher: float
) -> tuple[Split, str, dict[str, float]]:
    """The first layout, and the least recomputing, that fits; `teacher`: parameters beside it.

    Raises NoRoom with the largest term.
    """
    room = device.memory_gib * (1 - SPARE) * GIB
    terms: dict[str, float] = {}
    for split in splits:
        if method != "full":
            for how, again in (("none", False), ("full", True)):
                terms = adapters_bytes(model.shape, _weights(method), tokens, split, again=again)
                terms |= _beside(teacher, split)
                if sum(terms.values()) <= room:
                    return split, how, terms
            continue
        for kept in SOFTENED:
            terms = whole_bytes(model.shape, split, tokens, kept) | _beside(teacher, split)
            if sum(terms.values()) <= room:
                return split, kept, terms
    largest = max(terms, key=lambda name: terms[name])
    raise NoRoom(
        f"{sum(terms.values()) / GIB:.1f} GiB do not fit {room / GIB:.1f} GiB that {device.name} can use; "
        f"the largest part is {largest} with {terms[largest] / GIB:.1f} GiB",
        try_="more devices with FSDP, a shorter --sequence, --method lora or qlora, or more memory",
    )
