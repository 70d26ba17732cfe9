"""Which share of a device's dense 16-bit peak training reaches: a distribution, learnt from published runs.

A Gaussian process over the logarithm of the share. Its prior is hierarchical: a common level; what a class of
devices shares, and interrupted runs on it; precision, size, scale, length and recomputing with small slopes;
and for rows by the same people or the same code an offset of their own and a smooth dependence on their
settings. Noise has Student's tails: a run that was nothing like the others moves nothing. The standard
deviations below were set on the published rows, each family predicted from the others (docs/plan.md has the
table).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from ..estimate.operations import training_token
from .cases import Case, degree, published
from .devices import Device, find

Array = np.ndarray[Any, np.dtype[np.float64]]

CLASSES = {
    "volta": ("V100",),
    "ampere": ("A100", "A800", "A10", "A10G", "A40", "RTX A5000", "RTX A6000", "RTX 3090"),
    "hopper": ("H100", "H800", "H200", "H20", "GH200"),
    "blackwell": ("B200", "B300", "GB200", "GB300"),
    "tpu": ("TPU",),
}
LEVEL = (math.log(0.37), 1.0)  # the common level of the logarithm, hardly constrained
CLASS, CLASS_WHOLE = 0.3, 0.2  # of a class of devices, and of interrupted runs on it
SLOPES = {
    "interrupted": 0.3,  # restarts, evaluations and checkpoints are in a whole run's hours
    "fp8": 0.3,
    "fp16": 0.2,  # scaled losses, and the years that it was used in
    "experts": 0.3,  # a token meets a part of the parameters
    "recompute": 0.1,  # layers are computed again on the way back, for larger batches
    "small": 0.05,  # per e-fold below 7e9 parameters: launches and input take their part
    "scale": 0.03,  # per e-fold of devices from 256
    "length": 0.05,  # per e-fold of tokens in a sequence from 2048
    "memory": 0.1,  # per halving from 80 GiB
    "early": 0.2,  # per year before 2023: without fused attention
}
OFFSET_WHOLE, OFFSET_RATE = 0.15, 0.06  # of a family: of its whole runs, and of its measured rates
SMOOTH = 0.08  # within a family, over settings
NOISE_WHOLE, NOISE_RATE = 0.24, 0.05
# Devices of a whole run: up to ALONE, one node, it reaches what others measured in minutes; with each node
# more something breaks or waits more often, up to INTERRUPTED.
ALONE, INTERRUPTED = 8, 128
TAILS = 4.0  # Student's degrees of freedom
WIDER = 1.3  # of a new row's noise variance, for these tails
# What the published tables cannot tell: one source each, or none. Their spread is added to the interval.
FOUR_BIT = (-math.log(1.75), 0.15)  # LitGPT's table: nf4 is 1.56 times slower at 7e9, 2.0 at 13e9
FROZEN = 0.2  # steps of adapters: no published rate with its tokens
RECOMPUTED = re.compile(
    r"full ac\b|(?<!no )(?<!without )(?<!selective )(activation|gradient) (checkpoint|recomp)"
)
SEQUENCE, DEVICES, YEAR = 2048.0, 256.0, 2024.0  # where a row does not say


@dataclass(frozen=True, slots=True)
class Utilisation:
    """A share of the peak, log-normal: `log` and `sd` of its natural logarithm."""

    log: float
    sd: float

    def share(self, z: float = 0.0) -> float:
        """The share `z` standard deviations above its median."""
        return math.exp(self.log + z * self.sd)


def is_whole(case: Case) -> bool:
    """Whether it is a run with all its interruptions, and not a measured rate."""
    return case.tokens is not None


def is_frozen(case: Case) -> bool:
    """Whether only adapters learn."""
    return case.kind in ("lora", "qlora", "adapter")


def flop_per_token(case: Case) -> float | None:
    """Useful float operations a token, of its stated inputs; None where it tells no size."""
    if case.active is None:
        return None
    return training_token(case.active, case.sequence or SEQUENCE, frozen=is_frozen(case))


def reported(case: Case) -> float | None:
    """The share that a case's own figures amount to; None where it lacks one of them."""
    device, each = find(case.hardware), flop_per_token(case)
    rate = case.tokens_per_s
    if case.tokens and case.gpu_hours:
        rate = case.tokens / (case.gpu_hours * 3600)
    if device is None or each is None or rate is None:
        return None
    return rate * each / (device.tflops_16bit * 1e12)


def class_of(device: Device) -> str:
    """The class whose history a device shares; itself where it has none."""
    for name, members in CLASSES.items():
        if device.family in members or device.name.split(" ")[0] in members:
            return name
    return device.family.lower()


def code_of(case: Case) -> str:
    """The training code that a measured rate's own settings give away; "" where they do not."""
    how = case.parallelism.lower()
    if is_whole(case):
        return ""
    if re.search(r"full_shard|shard_grad_op", how) or how == "fsdp":
        return "llm-foundry"
    if re.search(r"fsdp\d", how):
        return "torchtitan"
    if re.search(r"\bmbs\d", how):
        return "nanotron"
    return ""


class Fit:
    """The posterior given cases, for any other."""

    def __init__(self, cases: Sequence[Case]) -> None:
        known = [(one, share) for one in cases if (share := reported(one)) is not None and is_sure(one)]
        seen = [one for one, _ in known]
        self._seen = _Seen.of(seen, [code_of(one) or one.family for one in seen])
        self._log = np.log([share for _, share in known]) - LEVEL[0]

    def predict(self, case: Case) -> Utilisation | None:
        """The share that a case will reach; None for a device that the catalogue lacks."""
        if find(case.hardware) is None or case.active is None:
            return None
        new = _Seen.of([case], [code_of(case)])
        across = _prior(new, self._seen)
        mean, noise = float((across @ self._weights)[0]), new.noise[0] ** 2 * WIDER
        variance = float(_prior(new, new)[0, 0] - (across @ self._inverse @ across.T)[0, 0]) + noise
        log, sd = LEVEL[0] + mean, math.sqrt(max(variance, noise))
        if is_frozen(case):
            sd = math.hypot(sd, FROZEN)
        if re.search(r"nf4|int4|4bit", case.precision):
            log, sd = log + FOUR_BIT[0], math.hypot(sd, FOUR_BIT[1])
        return Utilisation(log, sd)

    @cached_property
    def _inverse(self) -> Array:
        """Of the covariance of what was seen, each row's noise scaled by how far off it lies."""
        prior, variance = _prior(self._seen, self._seen), self._seen.noise**2
        scale = np.ones(len(variance))
        for _ in range(6):  # converges to three digits
            inverse = np.asarray(np.linalg.inv(prior + np.diag(variance / scale)), np.float64)
            off = self._log - prior @ (inverse @ self._log)
            scale = (TAILS + 1) / (TAILS + off**2 / variance)
        return inverse

    @cached_property
    def _weights(self) -> Array:
        found: Array = self._inverse @ self._log
        return found


def is_sure(case: Case) -> bool:
    """Whether a row's own notes trust its figures enough to learn from it."""
    return not case.confidence.startswith("low")


@lru_cache(maxsize=64)
def without(family: str | None = None) -> Fit:
    """The fit on all published cases but one family's."""
    return Fit([one for one in published() if family is None or one.family != family])


@dataclass(frozen=True, slots=True)
class _Seen:
    """Cases as numbers: what is linear, what is smooth, class, family, and the spreads of each."""

    linear: Array
    smooth: Array
    classes: Array
    whole: Array
    interrupted: Array
    families: list[str]

    @staticmethod
    def of(cases: Sequence[Case], families: Sequence[str]) -> _Seen:
        devices = [find(one.hardware) for one in cases]
        rows = [_numbers(one, device) for one, device in zip(cases, devices, strict=True) if device]
        return _Seen(
            np.array([[row[name] * spread for name, spread in SLOPES.items()] for row in rows]),
            np.array([_place(one, row) for one, row in zip(cases, rows, strict=True)]),
            np.array([class_of(device) for device in devices if device]),
            np.array([is_whole(one) for one in cases]),
            np.array([row["interrupted"] for row in rows]),
            list(families),
        )

    @property
    def noise(self) -> Array:
        return np.where(self.whole, NOISE_WHOLE, NOISE_RATE)

    @property
    def offset(self) -> Array:
        return np.where(self.whole, OFFSET_WHOLE, OFFSET_RATE)


def _numbers(case: Case, device: Device) -> dict[str, float]:
    """By the names of SLOPES."""
    active, devices = case.active or 1.0, case.devices or DEVICES
    broken = math.log(devices / ALONE) / math.log(INTERRUPTED / ALONE)
    return {
        "interrupted": is_whole(case) * min(1.0, max(0.0, broken)),
        "recompute": float(_recomputes(case)),
        "fp8": float("fp8" in case.precision),
        "fp16": float("fp16" in case.precision),
        "experts": float((case.total or active) > 1.3 * active),
        "small": min(0.0, math.log(active / 7e9)),
        "scale": math.log(devices / DEVICES),
        "length": math.log((case.sequence or SEQUENCE) / SEQUENCE),
        "memory": math.log2(device.memory_gib / 80),
        "early": min(0.0, (case.year or YEAR) - 2023),
    }


def _recomputes(case: Case) -> bool:
    if case.recompute is not None:
        return case.recompute
    return bool(RECOMPUTED.search(case.parallelism.lower()))


def _place(case: Case, row: dict[str, float]) -> list[float]:
    """Where a case lies among its family: one unit apart is moderately alike."""
    return [
        math.log((case.active or 1.0) / 7e9) / 2,
        row["length"] / 1.2,
        row["scale"] / 2,
        row["recompute"],
        2 * row["fp8"],
        row["memory"],
        *(math.log(degree(kind, case.parallelism) or 1) / 1.5 for kind in ("tp", "pp")),
    ]


def _prior(a: _Seen, b: _Seen) -> Array:
    """Covariances of the logarithm of the share between cases, noise left out."""
    found: Array = LEVEL[1] ** 2 + a.linear @ b.linear.T
    alike = a.classes[:, None] == b.classes[None, :]
    found = found + alike * (CLASS**2 + CLASS_WHOLE**2 * np.outer(a.interrupted, b.interrupted))
    family = np.array([[bool(one) and one == other for other in b.families] for one in a.families])
    apart = ((a.smooth[:, None, :] - b.smooth[None, :, :]) ** 2).sum(axis=2)
    close = alike * SMOOTH**2 * np.exp(-apart / 2)
    found = found + family * (np.outer(a.offset, b.offset) + close)
    return found
