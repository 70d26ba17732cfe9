"""What our pictures share: one SVG without any library, for light and dark pages; its style, its ticks."""

from __future__ import annotations

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 800, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 64, 48

STYLE = """
svg { --paper: #ffffff; --ink: #1f2328; --soft: #59636e; --grid: #e6eaef;
      --raw: #a9cdf5; --line: #0860c4; --held: #b3470a; --bad: #c8202b }
@media (prefers-color-scheme: dark) {
  svg { --paper: #0d1117; --ink: #e6edf3; --soft: #9198a1; --grid: #262c34;
        --raw: #244f82; --line: #6cb0ff; --held: #f0944d; --bad: #ff7b72 }
}
text { font: 13px system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif; fill: var(--soft) }
.title { font-size: 16px; font-weight: 600; fill: var(--ink) }
.end { text-anchor: end } .middle { text-anchor: middle }
.paper { fill: var(--paper) } .grid { stroke: var(--grid) } .axis { stroke: var(--soft) }
.raw, .smooth { fill: none; stroke-linejoin: round; stroke-linecap: round }
.raw { stroke: var(--raw) } .smooth { stroke: var(--line); stroke-width: 2.5 }
.held { stroke: var(--held); stroke-width: 2; fill: var(--paper) }
text.held { stroke: var(--paper); stroke-width: 4; paint-order: stroke; fill: var(--held) }
.bad { stroke: var(--bad); stroke-width: 2 } line.bad { stroke-width: 1; stroke-dasharray: 3 3 }
"""


def opening(title: str, note: str, *, height: int = HEIGHT) -> list[str]:
    """The first parts of a picture: its size, style and title, and a note at the right."""
    quoted = escape(title, {'"': "&quot;"})
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" aria-label="{quoted}">',
        f"<style>{STYLE}</style>",
        f'<clipPath id="plot"><rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" '
        f'height="{HEIGHT - TOP - BOTTOM}"/></clipPath>',
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        f'<text class="title" x="{LEFT}" y="26">{escape(title)}</text>',
        f'<text class="end" x="{WIDTH - RIGHT}" y="26">{escape(note)}</text>',
    ]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from at most `low` to at least `high`, 1, 2 or 5 times a power of ten apart."""
    rough = max((high - low) / about, 1e-9)
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(one for one in (1, 2, 5, 10) if one * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, max(last, first + 1) + 1)]


def cross(x: float, y: float) -> str:
    """The mark of what is out."""
    return f'<path class="bad" d="M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"/>'
