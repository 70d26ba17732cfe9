"""Memory of a device: predicted for a case, and held against published peaks."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import get_args

from ..estimate.shape import Shape, usual
from ..estimate.split import (
    ADAM_MASTER,
    ALONE,
    Recompute,
    Split,
    Weights,
    adapters_bytes,
    held_bytes,
    megatron_activation_bytes,
    whole_bytes,
)
from .cases import Case, degree
from .devices import Device
from .utilisation import SEQUENCE, is_frozen

GIB = 2**30
WORDS = 50_000  # of a vocabulary that a row does not tell
HEADS = 32  # of a decoder of which nobody told them
SOFTENED: tuple[Recompute, ...] = ("none", "selective", "full")


@dataclass(frozen=True, slots=True)
class Peak:
    """A published peak and ours, in GiB."""

    name: str
    framework: str
    reported: float
    predicted: float

    @property
    def error(self) -> float:
        """Ours to theirs, less one."""
        return self.predicted / self.reported - 1


@cache
def peaks() -> tuple[Peak, ...]:
    """Every published peak of `cases/memory.csv` with what the formulas give."""
    with (files(__package__) / "cases" / "memory.csv").open(encoding="utf-8") as lines:
        return tuple(
            Peak(
                _name(row),
                row["framework"],
                float(row["reported_gib"]),
                _published(row) / GIB,
            )
            for row in csv.DictReader(lines)
        )


def _name(row: Mapping[str, str]) -> str:
    layout = f"{row['shards']} shards TP{row['tensor']} PP{row['pipeline']} CP{row['context']}"
    read = f"{row['micro_batch']} x {row['sequence']}"
    return ", ".join(
        [row["model"], row["method"], row["weights"], read, layout, row["recompute"], row["part"]]
    )


def _published(row: Mapping[str, str]) -> float:
    width, heads = int(row["width"]), int(row["heads"])
    model = Shape(
        layers=int(row["layers"]),
        width=width,
        inner=int(row["inner"]),
        heads=heads,
        keys=round(heads * float(row["key_share"])),
        size=width // heads,
        words=int(row["words"]),
        tied=False,
        gated=row["gated"] == "1",
        root_mean_square=row["root_mean_square"] == "1",
        norms=int(row["norms"]),
    )
    split = Split(
        shards=int(row["shards"]),
        tensor=int(row["tensor"]),
        pipeline=int(row["pipeline"]),
        context=int(row["context"]),
        overlapped=row["overlapped"] == "1",
    )
    sequence, batch = int(row["sequence"]), int(row["micro_batch"])
    weights: Weights = next(kind for kind in get_args(Weights) if kind == row["weights"])
    if row["part"] == "states":
        return ADAM_MASTER * model.layers * model.layer_matrices / (split.tensor * split.pipeline)
    if row["part"] == "activations":
        selective, flying = row["recompute"] == "selective", float(row["in_flight"])
        return megatron_activation_bytes(model, split, batch, sequence, selective=selective, in_flight=flying)
    if row["method"] == "asked":
        return held_bytes(model, weights)
    if row["method"] == "lora":
        terms = adapters_bytes(model, weights, sequence * batch, trained=float(row["trained"]))
        return sum(terms.values())
    again: Recompute = "full" if row["recompute"] == "full" else "selective"
    return sum(whole_bytes(model, split, sequence * batch, again).values())


def decoder_of(parameters: float, met: float | None = None) -> Shape:
    """What a decoder of this size usually looks like: gated, its inner streams 8/3 as wide.

    met: parameters that a token meets; the rest are experts beside a decoder of that size.
    """
    if met is not None and met < parameters:
        dense = decoder_of(met)
        beside = (parameters - dense.parameters) / (3 * dense.layers * dense.width)
        return replace(dense, idle=max(0, round(beside)))
    layers, width = usual(parameters)
    size = max(1, round(width / HEADS))
    inner = max(1, round(width * 8 / 3))
    return Shape(max(1, round(layers)), size * HEADS, inner, HEADS, HEADS, size, WORDS, tied=False)


def split_of(parallelism: str, devices: float) -> Split | None:
    """What a text such as "TP8 PP35 DP8", "FSDP128 + compile" or "FULL_SHARD" says; None for nothing.

    All devices that no other word takes share the states where it speaks of sharding, and none where it does
    not.
    """
    how = parallelism.lower()
    numbers = {kind: degree(kind, how) for kind in ("tp", "pp", "cp", "fsdp")}
    sharded = re.search(r"full_shard|fsdp|zero-?3|shard_grad_op", how)
    if not sharded and not any(numbers.values()) and not re.search(r"ddp|\bdp\d|single|zero", how):
        return None
    tensor, pipeline, context = (numbers[kind] or 1 for kind in ("tp", "pp", "cp"))
    rest = max(1, int(devices) // (tensor * pipeline * context))
    shards = numbers["fsdp"] or (rest if sharded else 1)
    staged = rest if re.search("zero", how) and not sharded else 1
    return Split(min(shards, rest), tensor, pipeline, context, optimizer=staged)


def predict(case: Case, device: Device) -> tuple[float | None, list[str]]:
    """GiB of one device at its peak, and what was assumed; None with the reason.

    Where the row does not say how much is recomputed, as little as fits the device.
    """
    if case.total is None:
        return None, ["no parameters"]
    sequence, batch = case.sequence or SEQUENCE, case.micro_batch or 1.0
    model, assumed = decoder_of(case.total, case.active), []
    if case.micro_batch is None:
        assumed.append("memory: one sequence at a time assumed")
    if "int8" in case.precision:
        return None, ["nothing is known of a base held in int8, so no memory"]
    split = split_of(case.parallelism, case.devices) if case.devices else None
    groups = split.tensor * split.pipeline * split.context if split else 1
    if split is not None and case.devices and case.devices % groups:
        return None, [f"{groups} parts do not divide {case.devices:g} devices, so no memory"]
    frozen = is_frozen(case)
    if split is None and not frozen:
        return None, ["the row tells no layout, so no memory"]
    weights: Weights = "nf4" if re.search("nf4|4bit", case.precision) else "16bit"
    softened: tuple[Recompute, ...] = ("none", "full") if frozen else SOFTENED
    stated: dict[bool | None, tuple[Recompute, ...]] = {True: ("full",), False: ("none",), None: softened}
    fits = 0.0
    for again in stated[case.recompute]:
        if frozen:
            terms = adapters_bytes(model, weights, sequence * batch, split or ALONE, again=again == "full")
        else:
            terms = whole_bytes(model, split or ALONE, sequence * batch, again)
        fits = sum(terms.values()) / GIB
        if fits <= device.memory_gib:
            break
    if case.recompute is None:
        assumed.append(f"memory: recomputing {again} assumed")
    if fits > device.memory_gib:
        assumed.append(f"memory: more than the {device.memory_gib:.0f} GiB of {device.name}")
    return fits, assumed
