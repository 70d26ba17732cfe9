"""The loss of a run as a picture: one SVG without any library, for light and dark pages."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from ..chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, cross, opening, ticks
from ..records.shapes import Fact

POINTS_MAX = 700  # of a line; a pixel holds no more
SMOOTH_SHARE = 20  # the smooth line is the median of one part in so many of the run, around each step
OUTLIERS = 0.01  # share of the raw losses that may lie outside the picture


@dataclass(frozen=True, slots=True)
class Curve:
    """A run: of each step taken the tokens so far and its loss in `unit`.

    `before` and `after`: the losses on `select`. `skipped`: tokens at which a step was left out.
    """

    title: str
    unit: str
    tokens: Sequence[int]
    losses: Sequence[float]
    before: Fact | None = None
    after: Fact | None = None
    skipped: Sequence[int] = ()


def draw(curve: Curve) -> str:
    """The picture, 800 x 400."""
    every = -(-len(curve.losses) // POINTS_MAX)
    shown = sorted({*range(0, len(curve.losses), every), len(curve.losses) - 1})
    smooth = smoothed(curve.losses, shown)
    held = [fact for fact in (curve.before, curve.after) if fact is not None and fact.value is not None]
    scale = _scale(curve, smooth, held)
    parts = [
        *opening(curve.title, f"{len(curve.losses):,} steps, {curve.tokens[-1]:,} tokens"),
        *_axes(scale, curve.unit),
        *_legend(bool(held), bool(curve.skipped)),
        *(_cut(scale.x(at)) for at in curve.skipped),
        _line("raw", scale, [curve.tokens[at] for at in shown], [curve.losses[at] for at in shown]),
        _line("smooth", scale, [curve.tokens[at] for at in shown], smooth),
        *_marks(scale, curve),
        "</svg>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def smoothed(losses: Sequence[float], at: Sequence[int]) -> list[float]:
    """At each place the median of the loss and its neighbours: it lags behind nothing, no leap draws it."""
    reach = len(losses) // (2 * SMOOTH_SHARE)
    found = []
    for place in at:
        near = min(reach, place, len(losses) - 1 - place)  # the same on both sides at the ends, too
        found.append(statistics.median(losses[place - near : place + near + 1]))
    return found


@dataclass(frozen=True, slots=True)
class Scale:
    """From tokens and losses to places in the picture; what is drawn on both axes."""

    tokens: float
    low: float
    high: float
    ticks: list[float] = field(default_factory=list)

    def x(self, tokens: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * tokens / self.tokens

    def y(self, loss: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (loss - self.low) / (self.high - self.low)


def _scale(curve: Curve, smooth: Sequence[float], held: Sequence[Fact]) -> Scale:
    ordered = sorted(curve.losses)
    cut = int(OUTLIERS * len(ordered))
    seen = [
        ordered[cut],
        ordered[-1 - cut],
        *smooth,
        *(fact.value for fact in held if fact.value is not None),
    ]
    near_zero, flat = min(seen) < 0.4 * max(seen), max(seen) - min(seen) < 0.05 * max(seen)
    found = ticks(0.0 if near_zero or flat else min(seen), max(seen))
    return Scale(curve.tokens[-1], found[0], found[-1], found)


def _axes(scale: Scale, unit: str) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value in scale.ticks:
        y = scale.y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        parts.append(f'<text class="end" x="{LEFT - 8}" y="{y + 4.5:.1f}">{value:g}</text>')
    for value in ticks(0, scale.tokens, 6):
        if value <= scale.tokens:
            x = scale.x(value)
            parts.append(f'<line class="axis" x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 5}"/>')
            parts.append(f'<text class="middle" x="{x:.1f}" y="{bottom + 20}">{_short(value)}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}"/>')
    parts.append(f'<text x="{LEFT}" y="{TOP - 14}">{escape(unit)}</text>')
    parts.append(f'<text class="end" x="{right}" y="{HEIGHT - 10}">tokens trained on</text>')
    return parts


def _legend(held: bool, skipped: bool) -> list[str]:
    """What each kind of mark is, right above the plot."""
    entries = [("raw", "each step", 64), ("smooth", "smoothed", 66)]  # with their width in pixels, about
    entries += [("held", "select, 95% interval", 132)] if held else []
    entries += [("bad", "step left out", 94)] if skipped else []
    parts, x, y = [], WIDTH - RIGHT, TOP - 18
    for kind, text, width in reversed(entries):
        x -= width
        parts.append(f'<text x="{x}" y="{y + 4}">{text}</text>')
        if kind == "held":
            parts.append(f'<circle class="held" cx="{x - 12}" cy="{y}" r="4"/>')
        elif kind == "bad":
            parts.append(cross(x - 12, y))
        else:
            parts.append(f'<path class="{kind}" d="M{x - 26} {y}h20"/>')
        x -= 40
    return parts


def _line(kind: str, scale: Scale, tokens: Sequence[int], losses: Sequence[float]) -> str:
    points = [f"{scale.x(x):.1f},{scale.y(y):.1f}" for x, y in zip(tokens, losses, strict=True)]
    points += points[:1] * (len(points) == 1)  # a line of one point is not drawn; back to itself, it is a dot
    return f'<polyline class="{kind}" clip-path="url(#plot)" points="{" ".join(points)}"/>'


def _marks(scale: Scale, curve: Curve) -> list[str]:
    parts = []
    for fact, at, side in ((curve.before, 0, 1), (curve.after, scale.tokens, -1)):
        if fact is None or fact.value is None:
            continue
        x, y = scale.x(at), scale.y(fact.value)
        if fact.low is not None and fact.high is not None:
            top, bottom = scale.y(min(fact.high, scale.high)), scale.y(max(fact.low, scale.low))
            parts.append(f'<path class="held" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>')
        parts.append(f'<circle class="held" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>')
        anchor = "" if side > 0 else " end"
        label = min(max(y - 10, TOP + 12), HEIGHT - BOTTOM - 8)
        text = f"{fact.value:.3g}"
        parts.append(f'<text class="held{anchor}" x="{x + side * 9:.1f}" y="{label:.1f}">{text}</text>')
    return parts


def _cut(x: float) -> str:
    bottom = HEIGHT - BOTTOM
    return f'<line class="bad" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}"/>' + cross(x, bottom)


def _short(tokens: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if tokens >= size:
            return f"{tokens / size:g}{letter}"
    return f"{tokens:g}"
