"""What stands: the records that the project file asks for as it is now, not the newest of each kind."""

from __future__ import annotations

from ..errors import ModelyardError, ProjectError
from ..flow import Stale, Walk, line
from ..records.shapes import Record
from .place import Place
from .voice import translate


def standing(place: Place, step: str) -> tuple[Record, str]:
    """The one record of `step` that the project asks for, and "".

    While it is not made, the newest that there is, and a warning. Raises ProjectError when there is none.
    """
    walk = Walk(place.yard, threads=place.threads, may_run=lambda node: False)
    why = translate("the project or its sources changed after this was made; `modelyard up` makes it anew")
    try:
        walk.follow(line(place.project, place.folder, place.yard))
    except Stale:
        pass
    except ModelyardError as error:
        why = translate("this may not be what the project asks for now: {what}", what=error.what)
    records = (done.record for done in walk.done if done.record is not None)
    made = [record for record in records if record.step == step and not is_trial(record)]
    if made:
        return made[0], ""
    found = [record for record in place.yard.find(step=step) if not is_trial(record)]
    if not found:
        missing = translate("the project has no record of {step} yet", step=step)
        raise ProjectError(missing, where=str(place.yard.root), try_="modelyard up")
    return found[0], why


def is_trial(record: Record) -> bool:
    """Whether it is one run of a search, and no Model of the line."""
    return bool(record.settings.get("trial"))
