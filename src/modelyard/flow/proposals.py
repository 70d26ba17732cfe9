"""What to try next: Optuna's tree of Parzen estimators (arXiv:2304.11127) over rate and rank.

It models where good settings lie from the settings tried so far. Radial basis functions could serve as such a
surrogate, too; they are no learning-rate method.
"""

from __future__ import annotations

import math
from typing import Any

from ..errors import need
from ..train.settings import Train

RATE_DOWN, RATE_UP = 8.0, 4.0  # how far from the default rate
RANKS = (4, 64)
START = 4  # settings before the model is asked: so few points are better spread
RATE_DIGITS = 3


class Proposals:
    """A sequence of settings, each proposed from the losses told so far: the same losses, the same sequence.

    `widest`: no rank may be above it. Raises MissingPackage without Optuna.
    """

    def __init__(self, train: Train, *, widest: int, seed: int) -> None:
        optuna = need("optuna", extra="train", for_="searching the tuning")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=START)
        self._optuna, self._train = optuna, train
        self._study: Any = optuna.create_study(sampler=sampler)  # in memory: the records are what is kept
        uniform = optuna.distributions.FloatDistribution
        rate = train.rate
        self._space = {"rate": uniform(rate / RATE_DOWN, min(rate * RATE_UP, 0.99), log=True)}
        self._default = {"rate": rate}
        lora = train.method.lora if train.method is not None else None
        if lora is not None:
            low, high = min(*RANKS, lora.rank), max(lora.rank, min(max(RANKS), widest))
            self._space["rank"] = uniform(math.log2(low), math.log2(high))
            self._default["rank"] = math.log2(lora.rank)
        self._asked: Any = None

    def tell_default(self, loss: float) -> None:
        """The loss of the default settings; endless where they fell apart."""
        self._study.add_trial(
            self._optuna.trial.create_trial(params=self._default, distributions=self._space, value=loss)
        )

    def ask(self) -> Train:
        """The next settings."""
        self._asked = self._study.ask(self._space)
        told: dict[str, float] = self._asked.params
        changed: dict[str, Any] = {"learning_rate": float(f"{told['rate']:.{RATE_DIGITS}g}")}
        method = self._train.method
        if "rank" in told and method is not None and method.lora is not None:
            lora = method.lora.model_copy(update={"rank": _even(2 ** told["rank"])})
            changed["method"] = method.model_copy(update={"lora": lora})
        return self._train.model_copy(update=changed)

    def tell(self, loss: float) -> None:
        """The loss of the settings asked for last; endless where they fell apart."""
        self._study.tell(self._asked, loss)


def _even(rank: float) -> int:
    """A multiple of four where there is one: odd widths are slow."""
    return max(1, round(rank / 4) * 4 if rank >= 4 else round(rank))
