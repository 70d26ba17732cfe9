"""Seconds of reading prompts and of writing tokens, by what a device multiplies and reads at most."""

from __future__ import annotations

from dataclasses import dataclass

from .shape import Shape

# Of the memory's rated bandwidth while tokens are written: fused engines on GPUs reach 0.6 to 0.9
# (cli99/llm-analysis: 0.9 is 14% to 24% too fast), CPUs 0.5 to 0.8 of what a plain read reaches.
BANDWIDTH_REACHED = (0.5, 0.7, 0.85)
# Of the dense peak while prompts are read, in products that fill it.
PEAK_REACHED = (0.3, 0.5, 0.7)
OVERHEAD_S = 0.0005  # of a step beside the device's own work: sampling, scheduling


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a model answers on a device; a step writes one token for each caller under way."""

    prefill_tps: float
    """Tokens of prompts read a second."""
    weights_s: float
    """Seconds of a step for reading all weights."""
    each_s: float
    """Seconds of a step for each caller: its keys and values, and its products."""
    share: float = 1.0
    """Of the weights, what one token meets: under 1 for a mixture of experts."""
    overhead_s: float = 0.0

    def step_s(self, callers: float) -> float:
        """Seconds of a step for so many callers; of experts it reads those that any of them meets."""
        met = 1 - (1 - self.share) ** callers if self.share < 1 else 1.0
        return self.overhead_s + self.weights_s * met + callers * self.each_s

    def decode_tps(self, callers: float) -> float:
        """Tokens written a second by all callers together."""
        return callers / self.step_s(callers)


def cache_bytes_per_token(shape: Shape, width_bytes: float = 2) -> float:
    """Keys and values that a token leaves behind in all layers (arXiv:1911.02150)."""
    return 2 * shape.layers * shape.keys * shape.size * width_bytes


def roofline(
    shape: Shape,
    *,
    bits: float,
    active: float | None = None,
    context: float,
    peak_flops: float,
    bytes_per_s: float,
    reached: int = 1,
) -> Speed:
    """The speed that a device's rated peak and bandwidth allow (arXiv:2402.16363, section 2).

    bits: of a weight. active: parameters that a token meets, all unless told. context: tokens before the one
    that is written. reached: 0, 1 or 2 for the lower end, the middle and the upper end of what is reached.
    """
    met = active or float(shape.parameters)
    reads, multiplies = bytes_per_s * BANDWIDTH_REACHED[reached], peak_flops * PEAK_REACHED[reached]
    attention = 4 * shape.layers * shape.heads * shape.size * context
    products = (2 * met + attention) / multiplies
    return Speed(
        prefill_tps=multiplies / (2 * met + attention / 2),
        weights_s=shape.parameters * bits / 8 / reads,
        each_s=max(context * cache_bytes_per_token(shape) / reads, products),
        share=min(1.0, met / shape.parameters),
        overhead_s=OVERHEAD_S,
    )


def measured(prefill_tps: float, one_tps: float, many_tps: float, many: int = 8) -> Speed:
    """The speed that two measurements amount to: tokens/s of one caller, and of `many` together."""
    one, all_ = 1 / one_tps, many / many_tps
    each = max(0.0, (all_ - one) / (many - 1))
    return Speed(prefill_tps, weights_s=max(one - each, 0.0), each_s=each)
