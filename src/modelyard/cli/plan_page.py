"""The plan of a project as one page with pictures, in both languages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..plan.memory import GIB, decoder_of
from ..plan.pictures import Say, cash_path, memory_picture, movers_picture, routes_picture
from ..plan.whole import Whole
from . import voice
from .plan_parts import PARTS
from .plan_tables import Part
from .voice import said, translate

TEMPLATE = Path(__file__).with_name("plan.html.jinja")


@dataclass(frozen=True, slots=True)
class Section:
    """A part with its pictures, as the template reads it."""

    title: str
    lead: list[str]
    pictures: list[str]
    tables: Sequence[Mapping[str, Any]]
    notes: list[str]


def page(found: Whole, name: str) -> str:
    """The page as HTML; it needs nothing from outside. The chosen language is shown first."""
    from jinja2 import Environment, StrictUndefined

    first = voice.chosen()
    pages = []
    for lang in ("en", "zh"):
        voice.choose(lang)
        pages.append(
            {
                "lang": lang,
                "title": translate("plan"),
                "state": translate("calibrated by this yard's runs" if found.calibrated else "uncalibrated"),
                "parts": [
                    _section(made, found) for part in PARTS.values() if (made := part(found)) is not None
                ]
                + [Section(translate("assumed"), [], [], [], [said(line) for line in found.assumed])],
            }
        )
    voice.choose(first)
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(
        TEMPLATE.read_text("utf-8")
    )
    return template.render(name=name, today=found.inputs.today.isoformat(), first=first, pages=pages)


def _section(part: Part, found: Whole) -> Section:
    tables = [{"head": [translate(cell) for cell in one.head], "rows": one.rows} for one in part.tables]
    return Section(part.title, list(part.lead), _pictures(part.name, found, _say), tables, list(part.notes))


def _say(text: str) -> str:
    """A word of the catalogue, else a sentence of the plan."""
    word = translate(text)
    return word if word != text else said(text)


def _pictures(name: str, found: Whole, say: Say) -> list[str]:
    currency = found.inputs.plan.currency
    if name == "routes":
        return [routes_picture(found.routes, currency, say)]
    if name == "run":
        return [_memory(found, say)]
    if name == "business" and found.cash is not None:
        drawn = [cash_path(found.cash, currency, say)]
        return [*drawn, movers_picture(found.cash, currency, say)] if found.cash.movers else drawn
    return []


def _memory(found: Whole, say: Say) -> str:
    """Of tuning on this machine, in float32 as it is done there (estimate/training.py)."""
    from ..estimate.training import Run, memory_bytes

    inputs = found.inputs
    if inputs.own is not None:
        return memory_picture(inputs.own.took.memory_gib, inputs.here.device.memory_gib, say)
    size = inputs.standing.value("model.parameters") or inputs.parameters
    run = Run(None if inputs.whole else 16, 2048, 512, 1, recompute=False)
    terms = {name: amount / GIB for name, amount in memory_bytes(decoder_of(size), run).items()}
    return memory_picture(terms, inputs.here.device.memory_gib, say)
