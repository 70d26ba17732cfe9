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
# under. Measured with SmolLM2-135M on a CPU with bf16 and VNNI: openvino without roundings of its own 0.0001
# for each file type; llamacpp, which meets quantised matrices with activations rounded to 8 bits, F16 0.0025,
# Q8_0 0.052 to 0.066, Q5_0 0.068, Q5_1 0.080, Q4_1 0.044, Q4_0 0.054 to 0.076. Injected faults: a norm times
# 1.05 0.028, one matrix times 1.05 0.006 to 0.079, another rope base 0.36, one layer's q or k out of order
# 0.34 and more. With AVX2 alone: openvino's own format without roundings 0.00002; onnx, which rounds
# activations to 8 bits too, int8 0.096, int4 0.106; litert fp32 0.00001, int8, with one step for a whole row,
# 0.033 on pydesk and 0.25 on random tokens; vllm F32 0.00001, BF16, which it computes in, 0.052.
FAULT_LIMITS: dict[tuple[str, str], float] = {
    ("llamacpp", "F16"): 0.005,
    **{("llamacpp", kind): 0.15 for kind in ("Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")},
    ("openvino", "F16"): 0.002,
    ("openvino", "Q8_0"): 0.002,
    ("openvino", "Q4_0"): 0.002,
    ("onnx", "int8"): 0.2,
    ("onnx", "int4"): 0.2,
    ("litert", "int8"): 0.3,
    ("vllm", "BF16"): 0.15,
}
FAULT_LIMIT = 0.002  # of an engine or file type without a line of its own: as strict as the strictest

# Mean divergence (nats/token) beyond which it is not quantisation that changed the model. SmolLM2-135M tuned
# on pydesk: Q8_0 0.0001, Q5_0 0.041, Q5_1 0.060, Q4_0 0.054. Q4_1 1.46: its base came as Q4_1, and rounding
# to the same steps takes the tuning back. On random tokens, which are far harder: int8 0.007 (openvino),
# 0.002 (onnx); int4 0.65 and 0.53.
KL_LIMITS: dict[str, float] = {
    **dict.fromkeys(("F32", "fp32", "F16"), 0.001),
    "BF16": 0.005,
    **dict.fromkeys(("Q8_0", "int8"), 0.02),
    **dict.fromkeys(("Q5_1", "Q5_0"), 0.3),
    **dict.fromkeys(("Q4_1", "Q4_0", "int4"), 1.0),
}
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
