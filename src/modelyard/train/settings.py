"""Settings of the training room, and its two steps."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from ..records.settings import Settings
from ..records.shapes import Step
from .schedule import Shape

BASE = Step("train.base", 1, "modelyard.train.base:run")
TUNE = Step("train.tune", 3, "modelyard.train.tune:run")


class Lora(Settings):
    """Low-rank adapters on all linear layers (arXiv:2106.09685)."""

    rank: int = Field(default=16, ge=1, le=256)
    """Width of the adapters; their size grows linearly with it."""
    alpha: float | None = Field(default=None, gt=0)
    """Scale: the update is multiplied by alpha/rank. Twice the rank unless given; 8 where stabilized."""
    stabilized: bool = False
    """Divide alpha by the root of the rank instead (rsLoRA, arXiv:2312.03732): for ranks of 64 and more."""

    @property
    def scale(self) -> float:
        if self.stabilized:  # 8 gives the scale 2 at rank 16, as without
            return (self.alpha if self.alpha is not None else 8.0) / math.sqrt(self.rank)
        return (self.alpha if self.alpha is not None else 2 * self.rank) / self.rank


class Method(Settings):
    """What is trainable."""

    lora: Lora = Lora()


class Budget(Settings):
    """How long to train: one of the two."""

    minutes: float | None = Field(default=None, gt=0)
    """Wall-clock minutes on this machine, turned once into tokens by a short measurement."""
    tokens: int | None = Field(default=None, gt=0)
    """Tokens, padding not counted."""

    @model_validator(mode="after")
    def _one(self) -> Budget:
        if (self.minutes is None) == (self.tokens is None):
            raise ValueError("give minutes or tokens, one of the two")
        return self


class Train(Settings):
    """The block `train` of the project file."""

    base: str = "smollm2-135m-instruct"
    """Base model: a known name, a folder of safetensors, or a hub id such as ORG/NAME."""
    method: Method | None = Method()
    """How to tune; null serves the base untuned."""
    budget: Budget = Budget(minutes=6)
    """When to stop."""
    learning_rate: float = Field(default=2e-3, gt=0, lt=1)
    """Peak rate of AdamW; warm-up before it, `schedule` after."""
    schedule: Shape = "cosine"
    """Way down from the peak: cosine, linear, wsd (stays, then falls in the last fifth), or constant."""
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
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: the faster of the two on this machine, by measurement."""
    seed: int = 0


class BaseSettings(Settings):
    """What train.base is told."""

    base: str


class TuneSettings(Settings):
    """What train.tune is told."""

    train: Train
