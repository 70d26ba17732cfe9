"""Smaller models out of the tuned one: pruned, or a smaller base, each taught by the tuned one."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import SourceError
from ..optimize.settings import PRUNE, PruneSettings
from ..project import Project
from ..records.shapes import Record, SourceFiles
from ..train.settings import BASE, TUNE, BaseSettings, Distil, Method, Train, TuneSettings
from .measuring import Smaller
from .node import Line, Node
from .tuning import in_minutes

TEACHER = "the tuned model"  # a record of this line, not a base that could be named
DISTILLED = "distilled"


def smaller(
    project: Project, corpus: Record, model: Record, files: Callable[[str, str], SourceFiles]
) -> Line[list[Smaller]]:
    """The models that `release.search` asks for besides `model`, in its order: pruned ones, then students.

    `files` fingerprints a student's base. Raises SourceError where nothing could judge them: what they lose
    is counted in right answers.
    """
    told = project.release.search
    if not told.prune and not told.students:
        return []
    if not corpus.fact("data.pairs.select").value:
        raise SourceError(
            "a smaller model is judged by its answers, and the corpus has no pairs of select",
            where="release.search",
            try_="pairs in data.sources with task: {hold_out: {select: 0.1}}, or no release.search",
        )
    given = {"corpus": (corpus,), "model": (model,)}
    pruned = yield tuple(
        Node(PRUNE, PruneSettings(**prune.model_dump(), seed=project.seed), given, label=prune.label)
        for prune in told.prune
    )
    bases = yield tuple(
        Node(BASE, BaseSettings(base=name), sources=(files(name, "release.search.students"),))
        for name in told.students
    )
    starts = [Smaller(one, (prune.label,)) for one, prune in zip(pruned, told.prune, strict=True)]
    starts += [Smaller(one, (f"student {name}",)) for one, name in zip(bases, told.students, strict=True)]
    if told.recovery is None:
        return starts
    settings = TuneSettings(train=_recovery(project))
    taught = yield tuple(
        Node(
            TUNE,
            settings,
            {"corpus": (corpus,), "model": (start.model,), "teacher": (model,)},
            label=", ".join(start.chain),
        )
        for start in starts
    )
    return [Smaller(one, (*start.chain, DISTILLED)) for one, start in zip(taught, starts, strict=True)]


def _recovery(project: Project) -> Train:
    """How a smaller model learns from the tuned one: as that was tuned, for minutes of its own."""
    train, told = project.train, project.release.search.recovery
    assert told is not None
    distil = train.distil or Distil(teacher=TEACHER)
    return train.model_copy(
        update={
            "method": train.method or Method.model_validate({"lora": {}}),
            "budget": in_minutes(told, project),
            "distil": distil.model_copy(update={"teacher": TEACHER}),
            "preference": None,
            "search": None,
            "seed": train.seed or project.seed,
        }
    )
