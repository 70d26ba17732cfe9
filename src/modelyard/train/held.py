"""The loss on texts that a run does not learn from: what it gained on `select`, what it forgot."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import general, intervals
from ..errors import RecordError
from ..prompt import Prompter
from ..records.shapes import Fact
from . import samples
from .packing import Order, rows
from .samples import Sample
from .saving import write_json

if TYPE_CHECKING:
    from .parallel.place import Place
    from .step import Step

NAME = "held.json"
# Tokens asked, as a share of the run's. A text is asked twice and only read, half of what learning it costs.
SELECT_SHARE, GENERAL_SHARE = 0.014, 0.006
FEWEST = 8  # texts, however short the run: fewer say nothing
MOST_SELECT = 64
ROWS_TOGETHER = 4  # between two reports
UNIT = "nats/token"


@dataclass(frozen=True, slots=True)
class Text:
    """A text to ask for. `kind`: select or general; `group`: texts of one group are alike."""

    kind: str
    id: str
    group: str
    sample: Sample


@dataclass(frozen=True, slots=True)
class Loss:
    """The summed loss (nats) of a text's labels before the first step and after the last."""

    kind: str
    id: str
    group: str
    labels: int
    before: float
    after: float


def choose(
    corpus: Path, prompter: Prompter, *, seed: int, longest: int, tokens: int, most: int | None = None
) -> list[Text]:
    """The texts for a run of `tokens`: as many as their share pays for, or `most` pairs of `select`.

    Pairs come in an order that only the seed decides, of all groups in turn, for an interval counts groups.
    So of two runs one has all texts of the other, or more.
    """
    pairs = list(islice(_pairs(corpus, prompter, seed, longest), most or MOST_SELECT))
    if most is None:
        pairs = _affordable(pairs, int(SELECT_SHARE * tokens))
    return pairs + _affordable(_general(prompter, longest), int(GENERAL_SHARE * tokens))


def _pairs(corpus: Path, prompter: Prompter, seed: int, longest: int) -> Iterator[Text]:
    path = corpus / "pairs.select.jsonl"
    found = list(samples.read(path)) if path.is_file() else []
    random.Random(seed).shuffle(found)
    seen: Counter[str] = Counter()
    turns = []
    for pair in found:
        turns.append(seen[pair["group"]])
        seen[pair["group"]] += 1
    for _, pair in sorted(zip(turns, found, strict=True), key=lambda one: one[0]):
        (sample,) = samples.of_pair(prompter, pair)
        if sample.labels and len(sample) <= longest:
            yield Text("select", str(pair["id"]), str(pair["group"]), sample)


def _general(prompter: Prompter, longest: int) -> Iterator[Text]:
    for id, text in general.texts():
        for (sample,) in islice(samples.of_text(prompter, text, longest), 1):
            yield Text("general", id, id, sample)


def _affordable(texts: Sequence[Text] | Iterator[Text], tokens: int) -> list[Text]:
    found: list[Text] = []
    for text in texts:
        tokens -= len(text.sample)
        if tokens < 0 and len(found) >= FEWEST:
            break
        found.append(text)
    return found


def measure(step: Step, texts: Sequence[Text], row_tokens: int, report: Callable[..., None]) -> list[float]:
    """The summed loss (nats) of each text as the model is now."""
    from .row import pack

    if not texts:
        return []
    lengths = [len(text.sample) for text in texts]
    order = rows(range(len(texts)), lengths, Order(0, 0, row_tokens))
    found = [0.0] * len(texts)
    for start in range(0, len(order), ROWS_TOGETHER):
        report("asking what is not learned", done=start, total=len(order))
        some = order[start : start + ROWS_TOGETHER]
        packed = [pack([texts[number].sample for number in row]) for row in some]
        for numbers, row, losses in zip(some, packed, step.losses(packed), strict=True):
            sums = losses.new_zeros(len(numbers)).index_add_(0, row.of, losses).tolist()
            for number, total in zip(numbers, sums, strict=True):
                found[number] = total
    return found


def before(state: Path, ask: Callable[[], list[float]], place: Place | None = None) -> list[float]:
    """What `ask` says, or what it said to an earlier start of this run. Raises RecordError.

    Several processes ask at once; the first of them writes for all.
    """
    path = state / NAME
    there = path.is_file() if place is None else place.agree(path.is_file())
    if not there:
        said = ask()
        if place is not None:
            said = place.agree(said)
        if place is None or place.first:
            write_json(path, said)
        return said
    try:
        return [float(loss) for loss in json.loads(path.read_text("utf-8"))]
    except (ValueError, TypeError):
        raise RecordError(
            "what this run measured before it began cannot be read",
            where=str(path),
            try_="remove that folder",
        ) from None


def paired(texts: Sequence[Text], first: Sequence[float], last: Sequence[float]) -> list[Loss]:
    """Each text with both its losses."""
    return [
        Loss(text.kind, text.id, text.group, text.sample.labels, a, b)
        for text, a, b in zip(texts, first, last, strict=True)
    ]


def write(losses: Sequence[Loss], path: Path) -> None:
    """held.json: of each text its kind, id, group, labels, and its losses (nats) before and after."""
    write_json(path, [asdict(loss) for loss in losses])


def read(told: Sequence[dict[str, Any]]) -> list[Loss]:
    """The content of held.json."""
    return [Loss(**one) for one in told]


def facts(losses: Sequence[Loss]) -> dict[str, Fact]:
    """Both losses on `select` and on the general texts, the fall of the first and the rise of the second."""
    select = [loss for loss in losses if loss.kind == "select"]
    general = [loss for loss in losses if loss.kind == "general"]
    return {
        "train.loss_select_before": _loss([one.before for one in select], select),
        "train.loss_select": _loss([one.after for one in select], select),
        "gain.loss": mean([one.before - one.after for one in select], select),
        "forget.loss_before": _loss([one.before for one in general], general),
        "forget.loss": _loss([one.after for one in general], general),
        "forget.loss_rise": mean([one.after - one.before for one in general], general),
    }


def _loss(sums: Sequence[float], of: Sequence[Loss]) -> Fact:
    """The mean, whose interval ends at zero: no loss lies below."""
    found = mean(sums, of)
    return found if found.low is None else replace(found, low=max(0.0, found.low))


def mean(sums: Sequence[float], of: Sequence[Loss]) -> Fact:
    """`sums` (nats) over all labels of the texts `of`, with its interval over their groups."""
    if not of:
        return Fact(None, UNIT, why="no text of that kind fits into a row")
    labels = [loss.labels for loss in of]
    if len(of) == 1:
        return Fact(sums[0] / labels[0], UNIT, n=1, why="one pair: no interval")
    found = intervals.ratio(sums, labels, [loss.group for loss in of])
    return Fact(found.value, UNIT, n=found.groups, low=found.low, high=found.high, level=intervals.LEVEL)
