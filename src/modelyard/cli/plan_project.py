"""`plan` in a project: all of it or one part, as tables, as an object, as a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ..plan.whole import Whole, whole
from ..records.files import write_whole
from .place import Place
from .plan_calibrate import calibrate
from .plan_page import page
from .plan_parts import PARTS, assumed, overview
from .planned import inputs_of
from .voice import Voice, translate


def project(voice: Voice, folder: Path, part: str | None, html: str | None, *, calibrated: bool) -> None:
    """The plan of the project in `folder`; `calibrated`: this machine is measured first."""
    place = Place.at(folder)
    if calibrated:
        calibrate(voice, place)
    found = whole(inputs_of(place, date.today()))
    if html is not None:
        target = folder / html
        write_whole(target, page(found, place.project.name).encode("utf-8"))
        voice.story(translate("written: {path}", path=target))
    if part is not None:
        made = PARTS[part](found)
        text = made.text() if made else translate("nothing told")
        voice.done(told(found)[part], text)
        return
    voice.done(told(found), lambda: f"{overview(found)}\n\n\n{assumed(found)}")


def told(found: Whole) -> dict[str, Any]:
    """The whole plan as an object of JSON."""
    return {
        "today": found.inputs.today.isoformat(),
        "currency": found.inputs.plan.currency,
        "calibrated": found.calibrated,
        "routes": [_plain(one) for one in found.routes],
        "run": _plain(found.inputs.own.took if found.inputs.own else None),
        "team": _plain(found.team),
        "business": _plain(found.cash),
        "position": _plain(found.position),
        "cases": {"runs": _plain(found.runs), "companies": _plain(found.companies)},
        "lessons": [_plain(one) for one in found.lessons],
        "outlook": [_plain(one) for one in found.outlook],
        "forecasts": _plain(found.forecasts),
        "training_flop": found.training_flop,
        "assumed": list(found.assumed),
    }


def _plain(value: Any) -> Any:
    """Dataclasses, dates and settings as JSON has them."""
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value
