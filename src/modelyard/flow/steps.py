"""Every step by its name, and the noun of what it makes."""

from __future__ import annotations

from ..data.settings import ANSWER, INDEX, PREPARE
from ..optimize.settings import CONVERT, PRUNE
from ..project import Project
from ..records.shapes import Step
from ..release.settings import CHOOSE
from ..train.settings import BASE, SEARCH, TUNE
from ..verify.probes import chosen
from ..verify.settings import LOOKUP, MEASURE, PROBE, RACE, REFERENCE

STEPS: dict[str, Step] = {
    step.name: step
    for step in (
        *(ANSWER, PREPARE, INDEX, BASE, TUNE, SEARCH, PRUNE),
        *(CONVERT, REFERENCE, MEASURE, PROBE, RACE, LOOKUP, CHOOSE),
    )
}


def probes(project: Project) -> tuple[str, ...]:
    """The probes that candidates are asked: those of the project, and those whose facts have a gate."""
    return chosen(frozenset(project.release.gates), frozenset(project.release.probes.run))


def left_out(project: Project) -> dict[str, str]:
    """Steps that are no part of `project`, each with the setting that would make it one."""
    absent = {}
    if not any(source.answers for source in project.data.sources):
        absent[ANSWER.name] = "answers: {url: …, model: …, terms: …, permits_training: true} in a source"
    if project.ground is None:
        absent[INDEX.name] = "ground: {passages: 1}"
    if project.train.method is None:
        absent[TUNE.name] = "train: {method: {lora: {rank: 16}}}"
    if project.train.search is None:
        absent[SEARCH.name] = "train: {search: {minutes: 30}}"
    if not probes(project):
        absent[PROBE.name] = "release: {probes: {run: [refusal]}}, or a gate on what a probe measures"
    if not project.release.search.prune:
        absent[PRUNE.name] = "release: {search: {prune: [{layers: 26}]}}"
    return absent


NOUNS: dict[str, str] = {
    "answers": ANSWER.name,
    "corpus": PREPARE.name,
    "index": INDEX.name,
    "base": BASE.name,
    "model": TUNE.name,
    "search": SEARCH.name,
    "pruned": PRUNE.name,
    "candidate": CONVERT.name,
    "reference": REFERENCE.name,
    "verdict": MEASURE.name,
    "probe": PROBE.name,
    "race": RACE.name,
    "lookup": LOOKUP.name,
    "release": CHOOSE.name,
}
