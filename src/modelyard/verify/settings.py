"""Settings of the verify room, and its steps."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..records.settings import Settings
from ..records.shapes import Step

REFERENCE = Step("verify.reference", 3, "modelyard.verify.reference:run")
MEASURE = Step("verify.measure", 7, "modelyard.verify.measure:run", measures=True)
PROBE = Step("verify.probe", 3, "modelyard.verify.probe:run", measures=True)
RACE = Step("verify.race", 3, "modelyard.verify.race:run", measures=True)
LOOKUP = Step("verify.lookup", 2, "modelyard.verify.lookup:run", measures=True)

Fidelity = Literal["screen", "partial", "full", "report"]
Score = Literal["exact_match", "f1"]
# Which pairs each looks at.
SPLIT: dict[Fidelity, str] = {"screen": "select", "partial": "select", "full": "select", "report": "report"}


class ReferenceSettings(Settings):
    """What verify.reference is told."""

    items: int = Field(default=32, ge=4, le=256)
    """Prompts on which the file's log-probabilities are kept and its divergence measured."""
    seed: int = 0


class Mix(Settings):
    """The load that speed and cost are measured at."""

    callers: int = Field(ge=1, le=256)
    """Questions under way at once."""
    input_tokens: int = Field(ge=1)
    """Tokens of a prompt, passages and template included."""
    output_tokens: int = Field(ge=1)
    """Tokens of an answer."""


class MeasureSettings(Settings):
    """What verify.measure is told: one candidate on one engine, at one fidelity."""

    engine: str
    """A name of engines.ENGINES."""
    threads: int = Field(ge=1)
    """Threads of the engine."""
    fidelity: Fidelity
    """A screen asks no question, partial and full ask those of `select`, report those of `report`."""
    items: int = Field(ge=0)
    """Pairs to ask; none at a screen."""
    max_loss: float | None = Field(default=None, ge=0)
    """The gate on task loss, if there is one: more pairs are asked where that many could not decide it."""
    most: int = Field(default=0, ge=0)
    """Most pairs to ask for that."""
    task_score: Score
    """How an answer is scored."""
    mix: Mix
    passages: int = Field(default=1, ge=1, le=8)
    """Passages put before a question, for the grounded score."""
    speed: bool = True
    """Whether to time answers at the mix; otherwise the time is an earlier look's, if there was one."""
    is_reference: bool = False
    """This is the file that task loss is counted from: its loss is nought by definition."""
    silence_s: float = Field(default=120.0, gt=0)
    """An engine without a sign of life for so long counts as hung."""
    seed: int = 0


class RaceSettings(Settings):
    """What verify.race is told: the engine of each of its candidates, in their order."""

    engines: tuple[str, ...] = Field(min_length=1)
    """Names of engines.ENGINES."""
    threads: int = Field(ge=1)
    """Threads of each engine."""
    mix: Mix
    silence_s: float = Field(default=120.0, gt=0)
    """An engine without a sign of life for so long counts as hung."""
    seed: int = 0


class LookupSettings(Settings):
    """What verify.lookup is told: one candidate on one engine that has prompt-lookup decoding."""

    engine: str
    """A name of engines.ENGINES."""
    threads: int = Field(ge=1)
    """Threads of the engine."""
    callers: int = Field(ge=1)
    """Callers of the project's mix."""
    items: int = Field(default=32, ge=4)
    """Pairs of select that are asked, with and without."""
    silence_s: float = Field(default=120.0, gt=0)
    """An engine without a sign of life for so long counts as hung."""
    seed: int = 0


class ProbeSettings(Settings):
    """What verify.probe is told: one candidate on one engine."""

    engine: str
    """A name of engines.ENGINES."""
    threads: int = Field(ge=1)
    """Threads of the engine."""
    probes: tuple[str, ...] = Field(min_length=1)
    """Names of probes.FACTS."""
    items: int = Field(default=48, ge=8)
    """Most pairs, prefixes or rows of a set that a probe asks, evenly spread over it."""
    task_score: Score
    """How an answer is scored."""
    silence_s: float = Field(default=120.0, gt=0)
    """An engine without a sign of life for so long counts as hung."""
    seed: int = 0
