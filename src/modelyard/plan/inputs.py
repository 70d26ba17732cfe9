"""All that a plan reads: the project's own words, what its yard has measured, and the day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from .options import Option
from .own import Took, Work
from .settings import Has, Load, Plan
from .standing import Standing, Tuned

TOKENS_PER_PAIR = 150.0  # of a question with its passage and answer: the example has 124 and 5
EPOCHS = 3.0  # over the pairs, where nobody told a budget
TOKENS_PER_DOCUMENT = 400.0
BASE = 135e6  # parameters of the default base


@dataclass(frozen=True, slots=True)
class Offer:
    """A plan of `prices`, in its currency."""

    monthly: float
    included_tokens: float
    per_million_input: float
    per_million_output: float

    def charged(self, input_tokens: float, output_tokens: float) -> float:
        """What a month with so many tokens costs the customer; the included ones go first, evenly."""
        all_ = input_tokens + output_tokens
        beyond = max(0.0, 1 - self.included_tokens / all_) if all_ else 0.0
        rest = input_tokens * self.per_million_input + output_tokens * self.per_million_output
        return self.monthly + beyond * rest / 1e6


@dataclass(frozen=True, slots=True)
class Sold:
    """What the service has metered so far."""

    customers: int
    requests: int
    input_tokens: int
    output_tokens: int
    months: float
    """Since the first request."""
    largest_share: float
    """Of all tokens, the largest customer's."""


@dataclass(frozen=True, slots=True)
class Own:
    """The yard's newest training run, and what the project's next one takes by it."""

    took: Took
    calibration: Tuned
    done: Work


@dataclass(frozen=True, slots=True)
class Inputs:
    """The project as the plan sees it."""

    plan: Plan
    standing: Standing
    here: Option
    today: date
    task: str
    base: str
    parameters: float
    """Of the base."""
    whole: bool
    """Whether the project's own tuning trains all weights."""
    kind: str
    """Which route the project file goes: ground, lora, full, distil or continue."""
    budget_tokens: float | None
    input_tokens: float
    output_tokens: float
    gates: Mapping[str, float] = field(default_factory=dict)
    """Gate to its limit."""
    sources: tuple[str, ...] = ()
    seen: Has | None = None
    """What the files of the sources hold at a glance, where nobody has measured or told it."""
    lacking: tuple[str, ...] = ()
    """Sources that are not there yet, so that what they hold is unknown."""
    offers: Mapping[str, Offer] = field(default_factory=dict)
    sold: Sold | None = None
    own: Own | None = None
    assumed: tuple[str, ...] = ()

    @property
    def has(self) -> Has:
        """What there is to learn from: as measured, else as told, else at a glance."""
        documents, pairs = (self.standing.value(name) for name in ("data.documents", "data.pairs.train"))
        told = self.plan.has or self.seen or Has()
        documents = documents if documents is not None else told.documents
        return Has(
            documents=int(documents),
            pairs=int(pairs if pairs is not None else told.pairs),
            tokens=told.tokens or documents * TOKENS_PER_DOCUMENT,
        )

    @property
    def load(self) -> Load | None:
        """What customers will ask."""
        return self.plan.load

    @property
    def tuning_tokens(self) -> float:
        """Of a tuning run: as measured, else its budget, else a few times over the pairs."""
        return (
            self.standing.value("train.tokens")
            or self.budget_tokens
            or max(1.0, self.has.pairs * TOKENS_PER_PAIR * EPOCHS)
        )
