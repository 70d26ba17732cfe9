"""The plan's pictures: memory, routes, cash path, what matters most. `say` puts words into a language."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from xml.sax.saxutils import escape

from ..chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, cross, opening, ticks
from .backtest import Range
from .cash import Cash
from .routes import Route

Say = Callable[[str], str]
WIDE = WIDTH - RIGHT
LABEL = 300  # pixels for the name of a bar
ROW = 34


def cash_path(found: Cash, currency: str, say: Say) -> str:
    """The median, the middle 80% and the line below which it is dry."""
    low = min(0.0, *(one.low for one in found.cash))
    high = max(0.0, *(one.high for one in found.cash))
    marks = ticks(low, high)

    def x(month: int) -> float:
        return LEFT + 20 + (WIDE - LEFT - 20) * month / max(1, found.months - 1)

    def y(money: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (money - marks[0]) / (marks[-1] - marks[0])

    upper = [f"{x(at):.1f} {y(one.high):.1f}" for at, one in enumerate(found.cash)]
    lower = [f"{x(at):.1f} {y(one.low):.1f}" for at, one in enumerate(found.cash)][::-1]
    middle = [f"{x(at):.1f} {y(one.value):.1f}" for at, one in enumerate(found.cash)]
    parts = opening(f"{say('cash by month')}, {currency}", say("median, 80%"))
    for mark in marks:
        parts.append(
            f'<line class="grid" x1="{LEFT + 20}" y1="{y(mark):.1f}" x2="{WIDE}" y2="{y(mark):.1f}"/>'
        )
        parts.append(f'<text class="end" x="{LEFT + 12}" y="{y(mark) + 4.5:.1f}">{_short(mark)}</text>')
    parts.append(f'<path d="M{"L".join(upper + lower)}Z" style="fill: var(--raw); opacity: .45"/>')
    parts.append(f'<path class="smooth" d="M{"L".join(middle)}"/>')
    parts.append(f'<line class="bad" x1="{LEFT + 20}" y1="{y(0):.1f}" x2="{WIDE}" y2="{y(0):.1f}"/>')
    for month in range(0, found.months, max(1, found.months // 8)):
        parts.append(f'<text class="middle" x="{x(month):.1f}" y="{HEIGHT - BOTTOM + 20}">{month + 1}</text>')
    first = next((at for at, share in enumerate(found.dry) if share > 0.1), None)
    if first is not None:
        parts.append(cross(x(first), y(found.cash[first].low)))
    return "\n".join([*parts, "</svg>"]) + "\n"


def bars(title: str, note: str, rows: Sequence[tuple[str, Range, bool]]) -> str:
    """Bars with whiskers of 80%; a cross over what is out. Rows: name, range, whether it is out."""
    top = max([1e-9, *(one.high for _, one, _ in rows)])
    marks = ticks(0, top)
    height = TOP + ROW * len(rows) + BOTTOM

    def x(value: float) -> float:
        return LABEL + (WIDE - LABEL) * value / marks[-1]

    parts = opening(title, note, height=height)
    parts += _upright(marks, x, height)
    for at, (name, one, out) in enumerate(rows):
        y = TOP + ROW * at + 6
        parts.append(f'<text class="end" x="{LABEL - 8}" y="{y + 14}">{escape(_cut(name))}</text>')
        parts.append(
            f'<rect x="{LABEL}" y="{y}" width="{max(0.5, x(one.value) - LABEL):.1f}" height="20" '
            f'style="fill: var(--raw)"/>'
        )
        if one.high > one.low:
            parts.append(f'<path class="smooth" d="M{x(one.low):.1f} {y + 10}H{x(one.high):.1f}"/>')
        if out:
            parts.append(cross(LABEL + 10, y + 10))
    return "\n".join([*parts, "</svg>"]) + "\n"


def routes_picture(routes: Sequence[Route], currency: str, say: Say) -> str:
    """What each costs until the first release; crossed where it breaks a limit."""
    rows = [
        (f"{say(one.name)} ({say(one.on)})" if one.on else say(one.name), one.build, bool(one.unfit))
        for one in routes
    ]
    return bars(f"{say('until the first release')}, {currency}", say("crossed: breaks a limit"), rows)


def memory_picture(terms: Mapping[str, float], holds: float, say: Say) -> str:
    """Memory of one device by term, and what the device has, in GiB."""
    rows = [(say(name), Range(gib, gib, gib), False) for name, gib in terms.items() if gib > 0]
    rows.append((say("the device has"), Range(holds, holds, holds), False))
    return bars(f"{say('memory of a device')}, GiB", "", rows)


def movers_picture(found: Cash, currency: str, say: Say) -> str:
    """Cash at the end where an input is in its lowest fifth and where it is in its highest."""
    rows = found.movers
    ends = [one for _, low, high in rows for one in (low, high)] or [0.0, 1.0]
    marks = ticks(min(ends), max(ends))
    height = TOP + ROW * len(rows) + BOTTOM

    def x(value: float) -> float:
        return LABEL + 40 + (WIDE - LABEL - 40) * (value - marks[0]) / (marks[-1] - marks[0])

    parts = opening(f"{say('what matters most')}: {say('cash at the end')}, {currency}", "", height=height)
    parts += _upright(marks, x, height)
    for at, (name, low, high) in enumerate(rows):
        y = TOP + ROW * at + 16
        parts.append(f'<text class="end" x="{LABEL + 30}" y="{y + 4}">{escape(_cut(say(name), 46))}</text>')
        parts.append(f'<path class="smooth" d="M{x(low):.1f} {y}H{x(high):.1f}"/>')
        parts.append(f'<circle class="smooth" cx="{x(low):.1f}" cy="{y}" r="4"/>')
        parts.append(f'<circle class="held" cx="{x(high):.1f}" cy="{y}" r="5"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _upright(marks: Sequence[float], x: Callable[[float], float], height: int) -> list[str]:
    """Lines of the grid from top to bottom, each with its number below."""
    foot = height - BOTTOM
    return [
        part
        for mark in marks
        for part in (
            f'<line class="grid" x1="{x(mark):.1f}" y1="{TOP}" x2="{x(mark):.1f}" y2="{foot}"/>',
            f'<text class="middle" x="{x(mark):.1f}" y="{foot + 20}">{_short(mark)}</text>',
        )
    ]


def _cut(text: str, most: int = 40) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _short(value: float) -> str:
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if size >= 1e4 else f"{value:g}"
