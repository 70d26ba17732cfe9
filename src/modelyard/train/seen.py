"""What of a run is seen besides its steps: held-out losses, the share of the roof, a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SourceError
from ..prompt import Prompter
from ..records.shapes import Fact
from . import held, picture, work
from .budget import Plan
from .held import Text
from .samples import Item
from .settings import TRIAL_PAIRS

if TYPE_CHECKING:
    from .checkpoint import Progress
    from .here import Job
    from .parallel.place import Place
    from .step import Step


@dataclass(frozen=True, slots=True)
class Seen:
    """What was measured before the first step. `tps_at_roof` None: `why` says why."""

    texts: list[Text]
    before: list[float]
    row_tokens: int
    tps_at_roof: float | None
    why: str
    report: Callable[..., None]


def begin(
    step: Step,
    job: Job,
    made: Plan,
    items: Sequence[Item],
    report: Callable[..., None],
    place: Place | None,
) -> Seen:
    """Ask the model what it will not learn, and the machine for its roof. `step` has learned nothing yet."""
    train = job.train
    texts = held.choose(
        job.corpus,
        Prompter(job.base),
        seed=train.seed,
        longest=train.sequence_tokens,
        tokens=made.tokens,
        most=TRIAL_PAIRS if job.settings.of_search else None,
    )
    if job.settings.of_search and not any(text.kind == "select" for text in texts):
        raise SourceError(
            f"a search compares its trials on pairs of select, and none has {train.sequence_tokens} tokens "
            "or less",
            where="train.search",
            try_="a larger sequence_tokens, or no train.search",
        )
    first = held.before(job.state, lambda: held.measure(step, texts, train.sequence_tokens, report), place)
    whole = train.method is not None and train.method.lora is None
    config = json.loads((job.base / "config.json").read_text("utf-8"))
    flop = work.flop_per_token(config, items, whole=whole)
    if flop is None:
        tps, why = None, "the model's config does not tell how many operations a token takes"
    else:
        report("measuring the machine's roof")
        processes = 1 if train.parallel is None else train.parallel.processes
        tps, why = work.roof(made.precision, job.threads, step.gradient.device) * processes / flop, ""
    return Seen(texts, first, train.sequence_tokens, tps, why, report)


def end(seen: Seen, step: Step, progress: Progress, out: Path | None) -> dict[str, Fact]:
    """Ask once more, after the last step: the facts of both and the roof's share; held.json in `out`."""
    last = held.measure(step, seen.texts, seen.row_tokens, seen.report)
    losses = held.paired(seen.texts, seen.before, last)
    if out is not None:
        held.write(losses, out / held.NAME)
    if seen.tps_at_roof is None:
        share = Fact(None, "share", why=seen.why)
    else:
        share = Fact(progress.tokens / progress.seconds / seen.tps_at_roof, "share", n=len(progress.losses))
    return held.facts(losses) | {"train.roof_share": share}


def draw(progress: Progress, facts: Mapping[str, Fact], unit: str, name: str, path: Path) -> None:
    """The picture of the run's losses; those on `select` are in it where they are in the same unit."""
    same = unit == held.UNIT
    counts = dict(zip(_taken(progress), progress.token_counts, strict=True))
    curve = picture.Curve(
        f"Loss while tuning {name}".rstrip(),
        unit,
        progress.token_counts,
        progress.losses,
        facts["train.loss_select_before"] if same else None,
        facts["train.loss_select"] if same else None,
        [max((at for step, at in counts.items() if step < number), default=0) for number in progress.skipped],
    )
    path.write_text(picture.draw(curve), "utf-8")


def _taken(progress: Progress) -> list[int]:
    return [number for number in range(progress.step) if number not in progress.skipped]
