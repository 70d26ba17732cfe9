"""Settings of the training room, and its two steps."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, model_validator

from ..records.settings import Money, Settings
from ..records.shapes import Step
from .schedule import Shape

BASE = Step("train.base", 1, "modelyard.train.base:run")
TUNE = Step("train.tune", 7, "modelyard.train.tune:run")
SEARCH = Step("train.search", 1, "modelyard.train.searched:run")

# For adapters on SmolLM2 of 1e-3 to 4e-3 the middle one learned most; all weights or a preference want less.
RATE_ADAPTERS, RATE_WHOLE = 2e-3, 1e-4

TRIAL_PAIRS = 48  # of `select`, by which the trials of a search are compared


class Lora(Settings):
    """Low-rank adapters on all linear layers (arXiv:2106.09685)."""

    rank: int = Field(default=16, ge=1, le=256)
    """Width of the adapters; their size grows linearly with it."""
    alpha: float | None = Field(default=None, gt=0)
    """Scale: the update is multiplied by alpha/rank. Twice the rank unless given; 8 where stabilized."""
    stabilized: bool = False
    """Divide alpha by the root of the rank instead (rsLoRA, arXiv:2312.03732): for ranks of 64 and more."""
    targets: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Layers to adapt, by the last part of their names, such as q_proj. Without it: all but the head."""

    @property
    def scale(self) -> float:
        if self.stabilized:  # 8 gives the scale 2 at rank 16, as without
            return (self.alpha if self.alpha is not None else 8.0) / math.sqrt(self.rank)
        return (self.alpha if self.alpha is not None else 2 * self.rank) / self.rank


class Full(Settings):
    """Every weight of the model; takes four times the model in memory, in float32."""


class Method(Settings):
    """What is trainable: adapters unless told otherwise."""

    lora: Lora | None = None
    """Low-rank adapters; they begin as nothing."""
    full: Full | None = None
    """All weights: {full: {}}."""

    @model_validator(mode="before")
    @classmethod
    def _one(cls, told: Any) -> Any:
        if isinstance(told, dict):
            given = [name for name in ("lora", "full") if told.get(name) is not None]
            if len(given) == 2:
                raise ValueError("give lora or full, one of the two")
            if not given:
                return told | {"lora": {}}
        return told


class Preference(Settings):
    """Direct preference optimisation (arXiv:2305.18290) on pairs with a rejected answer."""

    beta: float = Field(default=0.1, gt=0)
    """How strongly the model is held to what it was before: larger holds it closer."""


class Distil(Settings):
    """A teacher's chances of every word, beside the right answers (arXiv:1503.02531)."""

    teacher: str
    """A larger base with the same words: a known name, a folder of safetensors, or a hub id."""
    share: float = Field(default=0.5, gt=0, le=1)
    """Share of the loss that is the distance to the teacher; the rest is that to the right answer."""
    temperature: float = Field(default=1.0, ge=0.1, le=20)
    """Above 1 the teacher's unlikely words count for more."""


class Budget(Settings):
    """How long to train: one of the three."""

    minutes: float | None = Field(default=None, gt=0)
    """Wall-clock minutes on this machine, turned once into tokens by a short measurement."""
    tokens: int | None = Field(default=None, gt=0)
    """Tokens, padding not counted."""
    usd: Money | None = Field(default=None, gt=0)
    """Dollars, turned into minutes by machine.usd_per_hour."""

    @model_validator(mode="after")
    def _one(self) -> Budget:
        if sum(told is not None for told in (self.minutes, self.tokens, self.usd)) != 1:
            raise ValueError("give minutes, tokens or usd, one of the three")
        return self


class Parallel(Settings):
    """Processes that train one model together; their number is the product of these four."""

    data: int = Field(default=1, ge=1, le=4096)
    """Copies of the model, each with its share of the rows; their gradients are added."""
    shard: int = Field(default=1, ge=1, le=4096)
    """As data, but each process holds a share of every weight only (FSDP2)."""
    tensor: int = Field(default=1, ge=1, le=256)
    """Processes that share each product: heads and inner width are cut into so many parts."""
    pipeline: int = Field(default=1, ge=1, le=256)
    """Processes that each hold some of the layers, one after the other."""

    @property
    def model(self) -> int:
        """Processes that hold one copy of the model together."""
        return self.shard * self.tensor * self.pipeline

    @property
    def processes(self) -> int:
        """All of them."""
        return self.data * self.model

    @model_validator(mode="after")
    def _one_way(self) -> Parallel:
        if sum(count > 1 for count in (self.shard, self.tensor, self.pipeline)) > 1:
            raise ValueError("give one of shard, tensor and pipeline; data goes with each of them")
        return self


class Search(Settings):
    """Look for a better rate, rank and number of tokens before tuning; the default settings are tried too."""

    minutes: float = Field(gt=0)
    """Minutes for all runs together, the one with the default settings among them."""
    trials: int | None = Field(default=None, ge=2, le=200)
    """Settings to try at most, the default among them; without it as many as the minutes pay for."""


class Train(Settings):
    """The block `train` of the project file."""

    base: str = "smollm2-135m-instruct"
    """Base model: a known name, a folder of safetensors, or a hub id such as ORG/NAME."""
    method: Method | None = Method(lora=Lora())
    """How to tune; null serves the base untuned."""
    mixture: dict[str, float] | None = None
    """Share of the tokens by path of a source; one of documents is learned as text. Without it: all pairs."""
    preference: Preference | None = None
    """Learn from pairs with a rejected answer which of two answers is better, and nothing else."""
    distil: Distil | None = None
    """Learn from a larger model as well."""
    budget: Budget = Budget(minutes=6)
    """When to stop."""
    search: Search | None = None
    """Search the settings by the loss on `select`; null takes them as they are."""
    learning_rate: float | None = Field(default=None, gt=0, lt=1)
    """Peak rate of AdamW; unless given 2e-3 for lora, 1e-4 for full, 1e-4 for preferences."""
    schedule: Shape = "cosine"
    """After the peak: cosine, linear, wsd (stays, falls in the last fifth), constant, plateau (halves)."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the rate rises."""
    sequence_tokens: int = Field(default=512, ge=32, le=32768)
    """Tokens of one packed row; no sample may be longer."""
    batch_tokens: int = Field(default=512, ge=32)
    """Tokens of one optimizer step."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decay of AdamW."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: fp32 or bf16, by measurement; fp16, its gradient scaled, is for machines that compute in it."""
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", exclude=True)
    """Where to compute; auto: on a GPU where there is one. No part of what is asked: a run may change it."""
    parallel: Parallel | None = Field(default=None, exclude=True)
    """Processes that train together, such as {data: 2}. No part of what is asked: a run may change it."""
    seed: int = 0

    @property
    def rate(self) -> float:
        """Peak rate of AdamW."""
        if self.learning_rate is not None:
            return self.learning_rate
        adapters = self.method is None or self.method.lora is not None
        return RATE_ADAPTERS if adapters and self.preference is None else RATE_WHOLE

    @model_validator(mode="after")
    def _fits(self) -> Train:
        if self.preference is not None and self.method is not None and self.method.full is not None:
            raise ValueError("preference needs lora: what it measures from is the model without its adapter")
        if self.preference is not None and self.distil is not None:
            raise ValueError("give preference or distil, one of the two")
        if self.mixture is not None and (not self.mixture or min(self.mixture.values()) <= 0):
            raise ValueError("mixture needs a source at least, and shares above zero")
        if self.device == "cuda" and self.parallel is not None and self.parallel.processes > 1:
            raise ValueError("give device: cuda or parallel: processes that train together use CPUs")
        if self.search is not None:
            self._can_search()
        return self

    def _can_search(self) -> None:
        if self.method is None:
            raise ValueError("search needs a method: nothing is tuned without one")
        if self.preference is not None:
            raise ValueError(
                "give search or preference: the search goes by a loss that preferences do not lower"
            )


class BaseSettings(Settings):
    """What train.base is told."""

    base: str


class TuneSettings(Settings):
    """What train.tune is told."""

    train: Train
    trial: bool | Literal["calibration"] = False
    """One of a search: more pairs of `select` are asked, adapters are not merged, and a run that falls apart
    is a record that says so. Or a calibration: a run like any other, which is nobody's model."""

    @property
    def of_search(self) -> bool:
        """Whether it is one of a search."""
        return self.trial is True


class SearchSettings(Settings):
    """What train.search is told."""

    minutes: float
    tokens: int
    """Of a run in full."""
    usd_per_hour: float
    price_is_assumed: bool
