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
THIN = 2.0
# Operations of the large products in whose time one value that learns is stepped: its gradient, moments and
# copies are moved through memory. 1.7 ns of 2 cores at 230 GFLOP/s, 135e6 values (bench/own.py).
STEPPED = 400.0
# Seconds in which a value that learns is written with its moments, 12 bytes, in the checkpoints that every
# run writes: three times at 340 MB/s (all weights of a base of 135e6: 14 s).
WRITTEN_S = 3 * 12 / 340e6
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
    batch_tokens: float = 512.0

    @property
    def flop(self) -> float:
        """Of a trained token, thin products and the optimizer's steps counted for what they take."""
        each = trained_token(self.shape, whole=self.rank is None, labels=self.labels, seen=self.seen)
        thin = 0.0 if self.rank is None else THIN * 6 * self.learns
        return each + thin + STEPPED * self.learns / self.batch_tokens

    @property
    def learns(self) -> float:
        """Values that learn."""
        return self.shape.parameters if self.rank is None else adapter_parameters(self.shape, self.rank)

    @property
    def read(self) -> float:
        """Of a token that the base reads and predicts."""
        return trained_token(self.shape, whole=False, labels=1, seen=0) / 2


@dataclass(frozen=True, slots=True)
class Took:
    """A prediction: seconds of the loop and of what stands around it, and memory by term in GiB."""

    seconds: Range
    memory_gib: dict[str, float]
    basis: str


def predict(calibration: Tuned, done: Work, asked: Work, *, row_tokens: int = 512) -> Took:
    """The run `asked`, from the run `done` of which `calibration` is the record.

    Around the loop the base is tried, read over held-out texts and written, which grows with the base alone;
    checkpoints with what learns.
    """
    loop = asked.tokens * asked.flop / (done.flop * calibration.tokens_per_s)
    around = calibration.seconds - calibration.tokens / calibration.tokens_per_s
    middle = loop + max(0.0, around * asked.read / done.read + WRITTEN_S * (asked.learns - done.learns))
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
