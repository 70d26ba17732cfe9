"""Fault parity (engine against torch on this file's weights), and the limits of both parities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from ..engines.protocol import Engine
from ..errors import EngineError
from ..records.shapes import Fact
from .forced import Forced

# Mean |log-probability by the engine - by torch| in nats per answer token that a right conversion stays
# under: two to four times what SmolLM2-135M gave on a CPU with bf16 and VNNI, engines as they serve (4 to 8
# items; llamacpp F16 0.002, Q8_0 0.066, Q4_0 0.054; openvino 0.033, 0.063, 0.069). llama.cpp meets quantised
# matrices with activations rounded to 8 bits; OpenVINO computes in bf16 and may keep its cache in 8 bits.
FAULT_LIMITS: dict[tuple[str, str], float] = {
    ("llamacpp", "F16"): 0.02,
    ("llamacpp", "Q8_0"): 0.2,
    ("llamacpp", "Q4_0"): 0.2,
    ("openvino", "F16"): 0.1,
    ("openvino", "Q8_0"): 0.2,
    ("openvino", "Q4_0"): 0.2,
}
FAULT_LIMIT = 0.02  # of an engine or file type without a line of its own: as strict as the strictest

# Mean divergence (nats/token) beyond which it is not quantisation that changed the model.
KL_LIMITS: dict[str, float] = {"F16": 0.001, "Q8_0": 0.02, "Q4_0": 1.0}
KL_LIMIT = 1.0


@dataclass(frozen=True, slots=True)
class Fault:
    """How far the engine's log-probabilities are from torch's on the same weights, in nats."""

    mean: float
    p95: float
    tokens: int
    items: int


def fault_limit(engine: str, file_type: str) -> float:
    """The limit of parity.fault for this engine and file type."""
    return FAULT_LIMITS.get((engine, file_type), FAULT_LIMIT)


def kl_limit(file_type: str) -> float:
    """The limit of parity.kl for this file type."""
    return KL_LIMITS.get(file_type, KL_LIMIT)


def fault(engine: Engine, forced: Sequence[Forced]) -> Fault:
    """Force the items through the engine and compare with the log-probabilities that they hold.

    Raises EngineError when the engine gives another number of log-probabilities, or one that is no number.
    """
    apart: list[float] = []
    for item in forced:
        told = engine.score(item.prompt, item.answer)
        if len(told) != len(item.logprobs) or not all(math.isfinite(value) for value in told):
            raise EngineError(
                f"{engine.name} gave log-probabilities that cannot be used for {item.id}",
                try_="another engine for this file",
            )
        apart += [abs(a - b) for a, b in zip(told, item.logprobs, strict=True)]
    ranked = sorted(apart)
    return Fault(mean(apart), ranked[math.ceil(0.95 * len(ranked)) - 1], len(apart), len(forced))


def fault_fact(found: Fault, limit: float) -> Fact:
    """The fact parity.fault."""
    why = f"95% of {found.tokens} tokens within {found.p95:.3g} nats; the limit is {limit:g}"
    return Fact(found.mean, "nats", n=found.items, why=why)
