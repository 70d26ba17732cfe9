"""Your answers against those that are bought: price, quality, latency, guarantees, and who is won by that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .apis import apis
from .cash import token_cost
from .inputs import Inputs, Offer
from .routes import Route
from .settings import Scenario

MOST_REQUESTS = 10_000_000  # of a customer and month, up to which a crossing is looked for


@dataclass(frozen=True, slots=True)
class Alternative:
    """Somebody else's answers. Money in the plan's currency for a thousand answers at the project's mix."""

    name: str
    per_1k: float
    date: str
    source: str
    quality: float | None
    """On your questions; None where nobody measured it."""


@dataclass(frozen=True, slots=True)
class Against:
    """One of your plans against one alternative."""

    plan: str
    alternative: str
    from_requests: float | None
    """Requests of a month from which on the plan costs a customer less; None where it never does."""
    to_requests: float | None
    """Requests beyond which it costs more again; None where it never does."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where the product stands."""

    cost_per_1k: float | None
    cost_source: str
    quality: float | None
    quality_source: str
    latency_p95_s: float | None
    guarantees: Sequence[str]
    alternatives: Sequence[Alternative]
    against: Sequence[Against]
    wins: Sequence[str]
    loses: Sequence[str]
    advantages: Sequence[tuple[str, str]]
    """Technology, data and innovation as measured facts: what, and its source."""


def position(inputs: Inputs, route: Route, shift: Scenario | None = None) -> Position:
    """Compare at the project's mix of tokens."""
    shift, rate = shift or Scenario(), inputs.plan.rate
    tokens = inputs.input_tokens + inputs.output_tokens
    mtok = token_cost(inputs, route)
    each = [
        Alternative(
            f"{api.provider} {api.model}",
            api.usd_per_answer(inputs.input_tokens, inputs.output_tokens) * 1000 * rate * shift.api_price,
            api.date.isoformat(),
            api.source,
            None,
        )
        for api in apis()
    ]
    each.sort(key=lambda one: one.per_1k)
    against = [
        _against(inputs, name, offer, one)
        for name, offer in inputs.offers.items()
        for one in (each[0], each[-1])
    ]
    standing = inputs.standing
    wins, loses = _customers(inputs, against, route)
    return Position(
        cost_per_1k=mtok * tokens / 1000 if mtok else None,
        cost_source=standing.source("cost.usd_per_mtok"),
        quality=standing.value("quality.task"),
        quality_source=standing.source("quality.task"),
        latency_p95_s=standing.value("latency.ttft_p95_s.c1"),
        guarantees=_guarantees(inputs, route),
        alternatives=each,
        against=against,
        wins=wins,
        loses=loses,
        advantages=_advantages(inputs),
    )


def _against(inputs: Inputs, name: str, offer: Offer, other: Alternative) -> Against:
    """Where the plan's monthly bill crosses the alternative's, by bisection over requests."""

    def dearer(requests: float) -> bool:
        mine = offer.charged(requests * inputs.input_tokens, requests * inputs.output_tokens)
        return mine > requests * other.per_1k / 1000

    grid = [10 ** (at / 8) for at in range(8 * 7 + 1)]
    cheaper = [at for at, requests in enumerate(grid) if not dearer(requests)]
    if not cheaper:
        return Against(name, other.name, None, None)
    first, last = cheaper[0], cheaper[-1]
    start = _crossing(dearer, grid[first - 1], grid[first]) if first else 0.0
    end = _crossing(lambda x: not dearer(x), grid[last], grid[last + 1]) if last + 1 < len(grid) else None
    return Against(name, other.name, start, end)


def _crossing(above: object, low: float, high: float) -> float:
    """Where `above` turns from true at `low` to false at `high`."""
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if above(middle) else (low, middle)  # type: ignore[operator]
    return high


def _guarantees(inputs: Inputs, route: Route) -> list[str]:
    """What the line itself gives, that a bought answer does not."""
    found = []
    if route.kind != "buy":
        found.append("data stays on machines that you name")
    if inputs.standing.release:
        found.append(f"gates that block, on record {inputs.standing.release}")
    if inputs.standing.value("retrieval.hit") is not None:
        found.append("each answer with its source, or NOT STATED")
    return found


def _customers(inputs: Inputs, against: Sequence[Against], route: Route) -> tuple[list[str], list[str]]:
    wins, loses = [], []
    if not inputs.offers:
        loses.append("unknown: nothing has a price")
    for one in against:
        if one.from_requests is None:
            loses.append(f"{one.plan}: whoever only compares prices with {one.alternative}")
            continue
        end = f" up to {one.to_requests:,.0f}" if one.to_requests is not None else ""
        wins.append(
            f"{one.plan}: from {one.from_requests:,.0f} requests a month{end}, against {one.alternative}"
        )
        if one.from_requests > 1:
            loses.append(f"{one.plan}: under {one.from_requests:,.0f} requests a month, to {one.alternative}")
    if route.kind != "buy":
        wins.append("whoever may not send documents to others")
    if inputs.standing.value("quality.task") is None:
        loses.append("whoever asks for a measured quality: nothing has been measured yet")
    return wins, loses


def _advantages(inputs: Inputs) -> list[tuple[str, str]]:
    standing, found = inputs.standing, []
    gain = standing.facts.get("gain.task")
    if gain is not None and gain[0].value is not None:
        fact = gain[0]
        sure = fact.low is not None and fact.low > 0
        told = "" if sure else ", which may be nothing"
        found.append(
            (
                f"technology: tuning gained {fact.value:+.3f} of quality.task{told}",
                standing.source("gain.task"),
            )
        )
    pairs = standing.value("data.pairs.train")
    if pairs:
        found.append((f"data: {pairs:,.0f} pairs of your own", standing.source("data.pairs.train")))
    unseen = standing.value("groups.unseen_kind")
    if unseen is not None:
        found.append(
            (
                f"innovation: {unseen:.3f} right on kinds of question nobody trained on",
                standing.source("groups.unseen_kind"),
            )
        )
    return found
