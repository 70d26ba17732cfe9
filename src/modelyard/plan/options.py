"""On what something can run: this machine, a device that is owned or rented, with the price of its hour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .. import machine
from ..errors import ProjectError
from ..estimate.economics import owned_usd_per_hour
from .devices import Device, find
from .settings import Plan, Scenario

# Useful operations of tuning a second and core on the example's base, where a yard has no run of its own:
# 420 and 190 tokens/s on two cores, by kind of processor (bench/results/line.json of this product).
USEFUL_PER_CORE = {"native bf16": 1.2e11, "AVX512, no bf16": 5.5e10, "AVX2 only": 5.5e10, "other": 3e10}
# Read from memory a second and core, of small virtual machines (docs/plan.md): assumed until measured.
READ_PER_CORE = 8e9
HERE = "this machine"


@dataclass(frozen=True, slots=True)
class Option:
    """A kind of device; `usd_per_hour` low, middle, high."""

    device: Device
    kind: str
    """here, own or rent."""
    usd_per_hour: tuple[float, float, float]
    priced: str

    @property
    def name(self) -> str:
        """As tables say it."""
        return HERE if self.kind == "here" else f"{self.device.name}, {self.kind}"


def this_machine(usd_per_hour: float | None) -> Option:
    """The machine that plans, as far as it can be known without measuring."""
    here = machine.this()
    useful = USEFUL_PER_CORE[here.kind] * here.cores / 1e12
    price = usd_per_hour if usd_per_hour is not None else machine.assumed_usd_per_hour()
    told = "machine.usd_per_hour" if usd_per_hour is not None else "assumed: 0.05 USD a core"
    device = Device(
        name=HERE,
        tflops_16bit=useful,
        tflops_8bit=None,
        memory_gib=float(here.memory_gib),
        memory_gb_per_s=READ_PER_CORE * here.cores / 1e9,
        watts=None,
        rent_usd_per_hour=(price, price, price),
        buy_usd=None,
        priced=told,
        source="this machine's kind",
        unverified=("tflops_16bit", "memory_gb_per_s"),
    )
    return Option(device, "here", (price, price, price), told)


def options(plan: Plan, here: Option, shift: Scenario) -> Sequence[Option]:
    """This machine, what is owned, and what may be rented where the data may leave the house.

    Raises ProjectError for a device nobody knows.
    """
    found = [here]
    gone = {device.name for name in shift.unavailable if (device := find(name))}
    for name in plan.own:
        device = _known(name, "plan.own")
        price = device.buy_usd
        if price is None:
            raise ProjectError(
                f"the catalogue has no price of {device.name}, so what owning it costs is unknown",
                where="plan.own",
                try_="a device with a price, or leave it out",
            )
        hours = [owned_usd_per_hour(one, device.watts, plan.kwh_price * shift.energy) for one in price]
        found.append(Option(device, "own", (hours[0], sum(hours) / 2, hours[1]), device.priced))
    for name in () if plan.private else plan.rent:
        device = _known(name, "plan.rent")
        if device.name in gone or device.rent_usd_per_hour is None:
            continue
        low, middle, high = (one * shift.rent for one in device.rent_usd_per_hour)
        found.append(Option(device, "rent", (low, middle, high), device.priced))
    return found


def _known(name: str, where: str) -> Device:
    device = find(name)
    if device is None:
        raise ProjectError(
            f"no device of the catalogue is called {name!r}", where=where, try_="such as H100 or RTX 4090"
        )
    return device
