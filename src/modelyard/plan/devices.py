"""The devices that models are trained and served on: dense peaks, memory, prices, each with its source."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Device:
    """One kind of accelerator; None is not known. Peaks are of dense products, without sparsity."""

    name: str
    tflops_16bit: float
    tflops_8bit: float | None
    memory_gib: float
    memory_gb_per_s: float
    watts: float | None
    rent_usd_per_hour: tuple[float, float, float] | None
    """Lowest, typical and highest seen, on demand, of one device."""
    buy_usd: tuple[float, float] | None
    priced: str
    source: str
    unverified: tuple[str, ...]
    """Fields whose source was not read again."""

    @property
    def family(self) -> str:
        """Its kind without size: A100 of A100-40GB."""
        return re.split(r"[ -]", self.name)[0] if not self.name.startswith(("TPU", "RTX")) else self.name


@cache
def catalogue() -> dict[str, Device]:
    """Every device by name."""
    return {name: device for name, (device, _) in _rows().items()}


@cache
def find(text: str) -> Device | None:
    """The device that a text such as "8x NVIDIA A100-SXM4-80GB" or "h100_80gb" means, if one is known.

    Of several that fit, the one that the text says most of.
    """
    said = _words(text)
    fits = [
        (len(words), -at, device)
        for at, (device, known) in enumerate(_rows().values())
        for words in known
        if words <= said
    ]
    return max(fits, key=lambda fit: fit[:2])[2] if fits else None


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z0-9]+", text.lower()))


@cache
def _rows() -> dict[str, tuple[Device, tuple[frozenset[str], ...]]]:
    """Each device with the sets of words that name it."""
    found = {}
    with (files(__package__) / "devices.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            names = [row["device"], *filter(None, row["also"].split("|"))]
            found[row["device"]] = (_device(row), tuple(map(_words, names)))
    return found


def _device(row: dict[str, str]) -> Device:
    peak, memory, reads = (_number(row[name]) for name in ("tflops_16bit", "memory_gib", "memory_gb_per_s"))
    if peak is None or memory is None or reads is None:
        raise ValueError(f"the catalogue lacks a number of {row['device']}")
    rent = tuple(_number(row[f"rent_usd_per_hour{end}"]) for end in ("_low", "", "_high"))
    buy = (_number(row["buy_usd_low"]), _number(row["buy_usd_high"]))
    return Device(
        name=row["device"],
        tflops_16bit=peak,
        tflops_8bit=_number(row["tflops_8bit"]),
        memory_gib=memory,
        memory_gb_per_s=reads,
        watts=_number(row["watts"]),
        rent_usd_per_hour=_rent(*rent),
        buy_usd=(buy[0], buy[1]) if buy[0] is not None and buy[1] is not None else None,
        priced=row["priced"],
        source=row["source"],
        unverified=tuple(row["unverified"].split()),
    )


def _rent(low: float | None, typical: float | None, high: float | None) -> tuple[float, float, float] | None:
    """Where no median is known, the middle of the range by ratio: prices of one device differ by factors."""
    if low is None or high is None:
        return None
    return (low, typical if typical is not None else math.sqrt(low * high), high)


def _number(text: str) -> float | None:
    return float(text) if text else None
