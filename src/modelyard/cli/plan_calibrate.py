"""The project's own training here, predicted by a run that the yard holds; and `plan --calibrate`."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import ProjectError
from ..estimate.configuration import of_config
from ..flow import Walk
from ..flow.calibrate import calibration
from ..plan.options import USEFUL_PER_CORE
from ..plan.own import Took, Work, predict
from ..plan.standing import Standing, Tuned, standing
from ..prompt import Prompter
from ..records.shapes import Record
from ..records.yard import Yard
from ..train import samples
from ..train.settings import TUNE, Train
from .place import Place
from .progress import watcher
from .standing import standing as standing_record
from .table import duration
from .voice import Voice, translate

LOOKED = 200  # items of the corpus whose lengths are counted
CALIBRATED_S = 30.0  # of the loop; with loading and what is asked before and after it stays under a minute
FEWEST_TOKENS = 2_000
WORDS = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
PAIRS, DOCUMENTS = "pairs.train.jsonl", "documents.jsonl"


def calibrate(voice: Voice, place: Place) -> None:
    """Train for half a minute, and keep the record. Raises ProjectError where nothing can be trained yet."""
    if place.project.train.method is None:
        raise ProjectError(
            "this project trains nothing, so there is nothing to calibrate",
            where=str(place.file),
            try_="train: {method: {lora: {rank: 16}}}",
        )
    (corpus, changed), (base, other) = (
        standing_record(place, step) for step in ("data.prepare", "train.base")
    )
    if changed or other:
        raise ProjectError(
            "the corpus or the base is not what the project asks for now",
            where=str(place.yard.root),
            try_="modelyard up --to train.base",
        )
    known = [one for one in standing(place.yard).tuned if one.here]
    parameters = base.fact("model.parameters").value or 1e8
    rate = known[0].tokens_per_s if known else USEFUL_PER_CORE["other"] * place.threads / (4 * parameters)
    tokens = max(FEWEST_TOKENS, round(rate * CALIBRATED_S))
    walk = Walk(place.yard, threads=place.threads, watcher=watcher(voice, str), again=TUNE.name, verb="plan")
    made = walk.follow(calibration(place.project, corpus, base, tokens))
    speed = made.fact("train.tps").value if made else None
    voice.story(
        translate(
            "calibrated: {speed} tokens/s over {tokens} tokens, in {took}",
            speed=f"{speed:.0f}" if speed else "-",
            tokens=f"{tokens:,}",
            took=duration(made.seconds if made else 0.0),
        )
    )


def own_run(place: Place, found: Standing) -> tuple[Took, Tuned, Work] | None:
    """What the project's next training takes, by its yard's newest run on this machine; None without one."""
    project, yard = place.project, place.yard
    if project.train.method is None:
        return None
    for run in (one for one in found.tuned if one.here):
        record = yard.one(run.record)
        base, corpus = (
            next(iter(yard.find(id=record.inputs[role][0])), None) for role in ("model", "corpus")
        )
        if base is None or corpus is None:
            continue  # swept
        done = work(yard, base, corpus, record.settings["train"], run.tokens)
        budget = project.train.budget
        tokens = budget.tokens or (
            run.tokens_per_s * budget.minutes * 60 if budget.minutes is not None else run.tokens
        )
        asked = work(yard, base, corpus, project.train.model_dump(mode="json"), tokens)
        if done is None or asked is None:
            return None
        return predict(run, done, asked, row_tokens=project.train.sequence_tokens), run, done
    return None


def work(yard: Yard, base: Record, corpus: Record, train: Mapping[str, Any], tokens: float) -> Work | None:
    """What a run is, as far as it can be known before it starts; None for a base of another kind."""
    folder = _some(yard, base, *WORDS)
    shape = of_config(json.loads((folder / "config.json").read_text("utf-8")))
    if shape is None:
        return None
    told = Train.model_validate(train)
    texts = _some(yard, corpus, PAIRS if told.mixture is None else DOCUMENTS)
    mixture = None if told.mixture is None else frozenset(told.mixture)
    labels, seen = looked_at(folder, texts, mixture, told.sequence_tokens)
    lora = (train.get("method") or {}).get("lora")
    return Work(shape, lora["rank"] if lora else None, tokens, labels, seen, told.batch_tokens)


@lru_cache  # what ran and what is asked mostly read the same
def looked_at(
    base: Path, corpus: Path, mixture: frozenset[str] | None, sequence_tokens: int
) -> tuple[float, float]:
    """(Tokens to be learnt, tokens looked back on) of a token, over the first items of the corpus.

    mixture: the sources whose documents are learnt; None: pairs are.
    """
    prompter = Prompter(base)
    if mixture is None:
        items = (samples.of_pair(prompter, pair) for pair in samples.read(corpus / PAIRS))
    else:
        items = (
            item
            for document in samples.read(corpus / DOCUMENTS)
            if document["source"] in mixture
            for item in samples.of_text(prompter, document["text"], sequence_tokens)
        )
    taken = [one for item in itertools.islice(items, LOOKED) for one in item]
    taken = [one for one in taken if len(one) <= sequence_tokens]
    tokens = sum(map(len, taken)) or 1
    labels = sum(one.labels for one in taken) / tokens
    return labels, sum(len(one) ** 2 / 2 for one in taken) / tokens


def _some(yard: Yard, record: Record, *names: str) -> Path:
    """A folder with these files of a record, checked; all of a model would take seconds to check."""
    return yard.store.view({name: record.files[name] for name in names if name in record.files})
