"""Six ways to answer the questions of `report`, scored alike: the headline table of a release with pairs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import results
import rules
from results import Figure

from modelyard import engines, intervals
from modelyard.cli.table import table
from modelyard.errors import RecordError
from modelyard.grounding import is_not_stated
from modelyard.prompt import NOT_STATED, Prompter, conversation
from modelyard.records.digest import digest
from modelyard.records.shapes import Record
from modelyard.records.yard import Yard
from modelyard.verify import quality
from modelyard.verify.items import Item, Stratum, items, read_jsonl
from modelyard.verify.score import SCORES

SILENCE_S = 120.0  # an engine without a sign of life for so long counts as hung
SPARE_TOKENS = 8  # engines count a begin token or a last one differently

SCORES_OF = ("macro mean", "answerable", "unanswerable")
TUNED = "tuned"
MUST_BEAT = ("base", "base, two examples", "always NOT STATED")

Row = dict[str, Any]  # {id, group, answerable, right} of one question


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The records that the table is made from: three verdicts on `report`, and what they looked at."""

    base: Record
    tuned: Record
    released: Record
    candidate: Record  # the base's file
    corpus: Record

    @classmethod
    def of(cls, yard: Yard, release: Record) -> Verdicts:
        """Those behind a release. Raises RecordError when it has none to compare."""
        report = release.json("release.json")["winner"]["report"]
        released = yard.one(report) if report else None
        if released is None or not released.inputs.get("base"):
            raise RecordError("the release has no report beside that of an untuned base", where=release.id)
        base = yard.one(*released.inputs["base"])
        tuned = yard.one(*released.inputs["against"]) if released.inputs.get("against") else released
        if tuned.json("verdict.json")["recipe"]["type"] != "F16":
            raise RecordError("the tuned model was not measured unquantised on report", where=tuned.id)
        candidate, corpus = (yard.one(*base.inputs[role]) for role in ("candidate", "corpus"))
        return cls(base, tuned, released, candidate, corpus)


def answer_all(verdicts: Verdicts) -> dict[str, list[Row]]:
    """Each system's answers to the same questions, in the same order.

    Raises RecordError when the verdicts did not look at the same questions.
    """
    tuned, released = map(answers, (verdicts.tuned, verdicts.released))
    ids = [row["id"] for row in tuned]
    if not ids or [row["id"] for row in released] != ids:
        raise RecordError("the verdicts on report looked at different questions", where=verdicts.released.id)
    by_id = {item.id: item for item in items(read_jsonl(verdicts.corpus.folder / "pairs.report.jsonl"))}
    asked = [by_id[id] for id in ids]
    score = verdicts.base.json("verdict.json")["task_score"]
    by_rule = [rules.answer(item.question or "", item.pair.get("passage") or "") for item in asked]
    return {
        "base": of_base(verdicts, asked),
        "base, two examples": of_base(verdicts, asked, examples(verdicts)),
        "always NOT STATED": [scored(item, NOT_STATED, score) for item in asked],
        "rule program": [scored(item, answer, score) for item, answer in zip(asked, by_rule, strict=True)],
        TUNED: tuned,
        "released": released,
    }


def answers(verdict: Record) -> list[Row]:
    """The answers that a verdict kept, in the order of their questions' ids."""
    return sorted(read_jsonl(verdict.folder / "answers.jsonl"), key=lambda row: str(row["id"]))


def scored(item: Item, answer: str, score: str) -> Row:
    """An answer that no engine gave, scored as verify scores."""
    wanted = NOT_STATED if item.absent else item.answer
    right = float(is_not_stated(answer)) if wanted == NOT_STATED else SCORES[score](answer, wanted)
    return {"id": item.id, "group": item.group, "answerable": item.answerable, "right": right}


def examples(verdicts: Verdicts) -> list[Item]:
    """Two training pairs, one with an answer in its passage and one without."""
    seed = verdicts.base.json("verdict.json")["seed"]
    train = items(read_jsonl(verdicts.corpus.folder / "pairs.train.jsonl"))
    return [example(train, stratum, seed) for stratum in ("answerable", "unanswerable")]


def of_base(verdicts: Verdicts, asked: Sequence[Item], shown: Sequence[Item] = ()) -> list[Row]:
    """The base asked on the engine of its verdict, `shown` before each question: a search asks it fewer."""
    verdict = verdicts.base.json("verdict.json")
    rows = [item.pair | {"messages": in_one([*shown, item])} for item in asked]  # type: ignore[operator]
    prompter = Prompter(verdicts.candidate.folder)
    plan = quality.plan(prompter, items(rows), None, 1)
    cap = int(verdict["max_answer_tokens"])
    print(f"asking the base {len(rows)} questions, {len(shown)} examples before each", file=sys.stderr)
    engine = engines.start(
        verdict["engine"],
        verdicts.candidate.folder / "model.gguf",
        threads=verdict["threads"],
        callers=quality.CALLERS,
        context_tokens=max(map(len, plan.prompts)) + cap + SPARE_TOKENS,
        limit_s=SILENCE_S,
    )
    try:
        score = verdict["task_score"]
        found = quality.ask(engine, prompter, plan, max_tokens=cap, score=score, silence_s=SILENCE_S).own
    finally:
        engine.close()
    right = {answer.id: answer.right for answer in found}
    return [scored(item, "", score) | {"right": right[item.id]} for item in asked]


def example(train: Iterable[Item], stratum: Stratum, seed: int) -> Item:
    """A training pair of a stratum, the same at every run."""
    pool = [item for item in train if item.stratum == stratum and item.pair.get("passage")]
    if not pool:
        raise RecordError(f"no training pair with a passage is {stratum}")
    return min(pool, key=lambda item: digest("example", [seed, item.id]))


def in_one(pairs: Sequence[Item]) -> list[dict[str, str]]:
    """Several pairs as one conversation, the system's message once."""
    messages = [message for item in pairs for message in conversation(item.pair)]
    return [message for at, message in enumerate(messages) if at == 0 or message["role"] != "system"]


def figures(systems: Mapping[str, Sequence[Row]], *, seed: int) -> list[Figure]:
    """Three scores of each system, and how far the tuned model is ahead of each other."""
    found = []
    for name, rows in systems.items():
        kinds = [[row for row in rows if row["answerable"] is kind] for kind in (True, False)]
        estimates = [
            intervals.macro_mean(*columns(rows), seed=seed),
            *(intervals.share([r["right"] for r in k], [r["group"] for r in k], seed=seed) for k in kinds),
        ]
        found += [figure(f"report, {name}: {s}", i) for s, i in zip(SCORES_OF, estimates, strict=True)]
    ours, answerable, groups = columns(systems[TUNED])
    for name, rows in systems.items():
        if name != TUNED:
            ahead = intervals.paired_difference(ours, columns(rows)[0], answerable, groups, seed=seed)
            found.append(figure(lead(name), ahead, above=0.0 if name in MUST_BEAT else None))
    return found


def columns(rows: Sequence[Row]) -> tuple[list[float], list[bool], list[str]]:
    """Scores, whether answerable, and groups."""
    return [row["right"] for row in rows], [row["answerable"] for row in rows], [row["group"] for row in rows]


def figure(name: str, i: intervals.Interval, above: float | None = None) -> Figure:
    """An estimate as a figure; whether its lower bound is above a goal."""
    why = f"{i.items} questions in {i.groups} groups"
    return Figure(name, i.value, "share", low=i.low, high=i.high, above=above, why=why)


def lead(name: str) -> str:
    """The name of the figure that says how far the tuned model is ahead of a system, paired by question."""
    return f"report, tuned minus {name}: macro mean"


def shown(found: Iterable[Figure], systems: Iterable[str]) -> str:
    """A line per system: its three scores, and the tuned model's lead on it."""
    text = {f.figure: results.measured(f.row()).removesuffix(" share") for f in found}
    rows = [
        [name, *(text[f"report, {name}: {score}"] for score in SCORES_OF), text.get(lead(name), "")]
        for name in systems
    ]
    return str(table(["on report", *SCORES_OF, "tuned minus it"], rows))
