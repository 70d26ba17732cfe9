"""What each process of a layout does: the same as one process alone, in its place."""

from __future__ import annotations

import json
from collections.abc import Callable

from ...prompt import Prompter
from ..material import gather
from .place import Place
from .start import Job


def work(job: Job, place: Place, report: Callable[..., None]) -> None:
    """Train to the end of the budget; the last checkpoint holds what was learned."""
    from .. import tune

    train = job.settings.train
    config = json.loads((job.base / "config.json").read_text("utf-8"))
    material = gather(job.corpus, Prompter(job.base), train, config.get("vocab_size") or 1 << 62)
    tune.train_here(
        tune.Here(job.settings, job.base, job.teacher, job.state, job.threads, report, place), material
    )
