"""A short run of the project's own training, only to measure how fast this machine is now."""

from __future__ import annotations

from ..project import Project
from ..records.shapes import Record
from ..train.settings import TUNE, Budget, TuneSettings
from .node import Line, Node


def calibration(project: Project, corpus: Record, base: Record, tokens: int) -> Line[Record]:
    """The record of a run over `tokens`; its search is left out, its budget is theirs."""
    told = {"search": None, "budget": Budget(tokens=tokens), "seed": project.train.seed or project.seed}
    train = project.train.model_copy(update=told)
    inputs = {"corpus": (corpus,), "model": (base,)}
    (record,) = yield (
        Node(TUNE, TuneSettings(train=train, trial="calibration"), inputs, label="calibration"),
    )
    return record
