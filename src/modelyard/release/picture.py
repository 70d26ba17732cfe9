"""The search as a picture: quality against cost, the gates drawn in, every candidate with its outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from ..chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, cross, opening, ticks
from ..records.shapes import Fact
from .choose import COST, Outcome
from .settings import LOSS, Gate

NAME = "search.svg"
ROW = 20  # pixels of a line of the list
LONGEST = 108  # characters of such a line
QUALITY = "quality.task"


@dataclass(frozen=True, slots=True)
class Scale:
    """From a cost (USD/1k answers) and a quality (share) to places in the picture."""

    costs: Sequence[float]
    low: float

    def x(self, cost: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * cost / self.costs[-1]

    def y(self, quality: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (quality - self.low) / (1 - self.low)


def draw(title: str, outcomes: Sequence[Outcome], gates: Mapping[str, Gate]) -> str:
    """The picture; `outcomes` in the order in which they are numbered, the winner first.

    A candidate whose quality nobody measured stands on the cost's axis. Whiskers are 95% intervals.
    """
    costs = [one.verdict.number(COST, 0) for one in outcomes]
    lows = [fact.low or 0.0 for one in outcomes if (fact := _quality(one)) is not None]
    lows += [gates[LOSS].limit] if LOSS in gates and gates[LOSS].kind == "min" else []
    scale = Scale(ticks(0, max([*costs, 1e-9]), 6), min([0.9, *(int(low * 10) / 10 for low in lows)]))
    listed = [_listed(at, one) for at, one in enumerate(outcomes, 1)]
    parts = [
        *opening(title, f"{len(outcomes)} candidates", height=HEIGHT + ROW * (len(listed) + 1)),
        *_axes(scale),
        *_gates(scale, outcomes, gates),
        *(part for at, one in enumerate(outcomes, 1) for part in _point(scale, at, one)),
        *(
            f'<text x="{LEFT}" y="{HEIGHT + ROW * at}">{escape(line)}</text>'
            for at, line in enumerate(listed, 1)
        ),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _quality(outcome: Outcome) -> Fact | None:
    fact = outcome.verdict.facts.get(QUALITY)
    return fact if fact is not None and fact.value is not None else None


def _listed(at: int, outcome: Outcome) -> str:
    why = "; ".join(f"{one.gate} {one.why}" for one in outcome.failed) or outcome.out or "released"
    line = f"{at}  {outcome.verdict.label}: {why}"
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def _axes(scale: Scale) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value in ticks(scale.low, 1.0):
        y = scale.y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        parts.append(f'<text class="end" x="{LEFT - 8}" y="{y + 4.5:.1f}">{value:.0%}</text>')
    for value in scale.costs:
        x = scale.x(value)
        parts.append(f'<line class="axis" x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 5}"/>')
        parts.append(f'<text class="middle" x="{x:.1f}" y="{bottom + 20}">{value:g}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}"/>')
    parts.append(f'<text x="{LEFT}" y="{TOP - 14}">right answers on select, 95% interval</text>')
    parts.append(f'<text class="end" x="{right}" y="{HEIGHT - 10}">USD for 1,000 answers</text>')
    return parts


def _gates(scale: Scale, outcomes: Sequence[Outcome], gates: Mapping[str, Gate]) -> list[str]:
    """Dashed lines: the least quality, the most that may be lost against the reference, the largest cost."""
    parts = []
    gate = gates.get(LOSS)
    if gate is not None:
        least = gate.limit
        if gate.kind == "max_loss":
            own = [
                fact.value or 0.0
                for one in outcomes
                if (fact := _quality(one)) is not None
                and one.verdict.fidelity == "full"
                and (loss := one.verdict.facts.get("loss.task")) is not None
                and loss.value == loss.low == loss.high == 0
            ]
            least = own[0] - gate.limit if own else -1.0
        if scale.low <= least <= 1 and gate.kind != "max":
            y = scale.y(least)
            parts.append(f'<line class="bad" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
            parts.append(f'<text class="end" x="{WIDTH - RIGHT}" y="{y - 5:.1f}">gate {least:.1%}</text>')
    dearest = gates.get(COST)
    if dearest is not None and dearest.kind == "max" and dearest.limit <= scale.costs[-1]:
        x = scale.x(dearest.limit)
        parts.append(f'<line class="bad" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>')
    return parts


def _point(scale: Scale, at: int, outcome: Outcome) -> list[str]:
    """A circle, smaller where less was measured; a cross over one that failed a gate."""
    fact, x = _quality(outcome), scale.x(outcome.verdict.number(COST, 0))
    y = scale.y(fact.value if fact is not None and fact.value is not None else scale.low)
    parts = []
    if fact is not None and fact.low is not None and fact.high is not None:
        top, bottom = scale.y(fact.high), scale.y(max(fact.low, scale.low))
        parts.append(f'<path class="raw" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>')
    radius = 7 if not outcome.out else 5 if outcome.verdict.fidelity == "full" else 3
    parts.append(
        f'<circle class="{"held" if not outcome.out else "smooth"}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>'
    )
    if outcome.failed:
        parts.append(cross(x, y))
    parts.append(f'<text x="{x + 9:.1f}" y="{y - 6 - 4 * (at % 3):.1f}">{at}</text>')
    return parts
