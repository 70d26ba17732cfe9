"""What an answer costs: the seconds that were measured, at the price of an hour of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..records.shapes import Fact

SECONDS = "speed.s_per_1k_answers"


@dataclass(frozen=True, slots=True)
class Price:
    """Of an hour of this machine; `assumed` when nobody gave it. `remote`: of the server that is asked."""

    usd_per_hour: float
    assumed: bool
    remote_usd_per_hour: float | None = None

    def of(self, engine: str) -> Price:
        """What an hour costs where this engine runs; a server without a price costs as much as we do."""
        if engine != "remote":
            return self
        if self.remote_usd_per_hour is None:
            return Price(self.usd_per_hour, assumed=True)
        return Price(self.remote_usd_per_hour, assumed=False)


def cost(seconds: Fact, mix: Mapping[str, Any], price: Price) -> dict[str, Fact]:
    """Cost of a thousand answers and of a million tokens read and written, with the interval of `seconds`."""
    told = f"{price.usd_per_hour:g} USD/hour{' (assumed: nobody gave the price)' if price.assumed else ''}"
    why = f"{seconds.why}, {told}" if seconds.value is not None else seconds.why
    tokens = mix["input_tokens"] + mix["output_tokens"]
    per_answers = price.usd_per_hour / 3600
    return {
        "cost.usd_per_1k_answers": _times(seconds, per_answers, "USD/1k answers", why),
        "cost.usd_per_mtok": _times(seconds, per_answers / 1e3 / tokens * 1e6, "USD/1M tokens", why),
    }


def _times(fact: Fact, by: float, unit: str, why: str) -> Fact:
    value, low, high = (None if v is None else v * by for v in (fact.value, fact.low, fact.high))
    return Fact(value, unit, n=fact.n, low=low, high=high, level=fact.level, why=why)
