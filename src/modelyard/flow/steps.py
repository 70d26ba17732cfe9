"""Every step by its name, and the noun of what it makes."""

from __future__ import annotations

from ..data.settings import INDEX, PREPARE
from ..optimize.settings import CONVERT
from ..records.shapes import Step
from ..release.settings import CHOOSE
from ..train.settings import BASE, TUNE
from ..verify.settings import MEASURE, RACE, REFERENCE

STEPS: dict[str, Step] = {
    step.name: step for step in (PREPARE, INDEX, BASE, TUNE, CONVERT, REFERENCE, MEASURE, RACE, CHOOSE)
}

NOUNS: dict[str, str] = {
    "corpus": PREPARE.name,
    "index": INDEX.name,
    "base": BASE.name,
    "model": TUNE.name,
    "candidate": CONVERT.name,
    "reference": REFERENCE.name,
    "verdict": MEASURE.name,
    "race": RACE.name,
    "release": CHOOSE.name,
}
