"""What a run takes on this machine, by a run that it has made: the same operations, counted one by one."""

from __future__ import annotations

from dataclasses import dataclass

from ..estimate.operations import trained_token
from ..estimate.shape import Shape
from ..estimate.training import Run, adapter_parameters, memory_bytes
from .backtest import Range
from .memory import GIB
from .standing import Tuned

# Of adapters' products, what an operation takes in the time of one of the large ones: they are thin. Set on
# ranks 4, 16 and 64 of one base (bench/own.py).
THIN = 3.0
# 80% of runs lie within this factor of what one just before them predicts (bench/results/own.json).
SPREAD = 1.15


@dataclass(frozen=True, slots=True)
class Work:
    """A run as far as its time goes. `rank` None: all weights learn."""

    shape: Shape
    rank: int | None
    tokens: float
    labels: float
    """Of a token, how many are to be learnt: near 0 for short answers, 1 for plain text."""
    seen: float
    """Tokens that a token looks back on, in the mean."""

    @property
    def flop(self) -> float:
        """Of a trained token, thin products counted for what they take."""
        each = trained_token(self.shape, whole=self.rank is None, labels=self.labels, seen=self.seen)
        thin = 0.0 if self.rank is None else 6 * adapter_parameters(self.shape, self.rank)
        return each + THIN * thin


@dataclass(frozen=True, slots=True)
class Took:
    """A prediction: seconds of the loop and of what stands around it, and memory by term in GiB."""

    seconds: Range
    memory_gib: dict[str, float]
    basis: str


def predict(calibration: Tuned, done: Work, asked: Work, *, row_tokens: int = 512) -> Took:
    """The run `asked`, from the run `done` of which `calibration` is the record."""
    loop = asked.tokens * asked.flop / (done.flop * calibration.tokens_per_s)
    around = max(0.0, calibration.seconds - calibration.tokens / calibration.tokens_per_s)
    middle = loop + around
    return Took(
        Range(middle, middle / SPREAD, middle * SPREAD),
        memory(asked, row_tokens),
        f"measured: record {calibration.record}",
    )


def memory(asked: Work, row_tokens: int = 512) -> dict[str, float]:
    """GiB by term, in float32, in which a run that chooses its precision begins (estimate/training.py)."""
    longest = min(row_tokens, 2 * round(asked.seen) + 1)
    run = Run(asked.rank, row_tokens, longest, 1, recompute=False)
    return {name: amount / GIB for name, amount in memory_bytes(asked.shape, run).items()}
