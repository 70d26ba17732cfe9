"""How good the answers are: asked of the engine, scored, with intervals by group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import intervals
from ..engines.protocol import Completion, Engine, Request, complete
from ..errors import EngineError, RecordError
from ..grounding import NotStated, is_not_stated, put
from ..prompt import NOT_STATED, Prompter, conversation
from ..records.shapes import Fact
from .items import Item
from .score import SCORES

if TYPE_CHECKING:
    from ..index.bm25 import Bm25

CALLERS = 8  # questions under way at once while answers are collected; the score does not depend on it
NO_PAIRS = "the corpus has no question-answer pairs"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model wrote for an item; `right` is its score, 0 to 1. `ended`: by itself, not by the cap."""

    id: str
    group: str
    kind: str
    answerable: bool
    right: float
    stated: bool
    answer: str
    ended: bool


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers from the pairs' own passages, and from retrieved ones (empty without an index)."""

    own: tuple[Answer, ...]
    grounded: tuple[Answer, ...]


def answer_tokens(prompter: Prompter, items: Sequence[Item]) -> int | None:
    """99th percentile of the length of the right answers in tokens, end token included; None without any."""
    if not items:
        return None
    lengths = sorted(len(prompter.encode(item.answer)) + 1 for item in items)
    return lengths[min(len(lengths) - 1, -(-99 * len(lengths) // 100) - 1)]


@dataclass(frozen=True, slots=True)
class Plan:
    """Items and their prompts: with the pairs' own passages, and with retrieved ones (None: NOT STATED)."""

    items: tuple[Item, ...]
    own: Mapping[str, tuple[int, ...]]
    found: Mapping[str, tuple[int, ...] | None]

    @property
    def prompts(self) -> list[tuple[int, ...]]:
        """Every prompt once: retrieval often finds the pair's own passage."""
        return sorted({*self.own.values(), *(p for p in self.found.values() if p is not None)})


def plan(prompter: Prompter, items: Sequence[Item], index: Bm25 | None, passages: int) -> Plan:
    """Render all prompts before an engine is started."""
    found: dict[str, tuple[int, ...] | None] = {}
    for item in items if index is not None else ():
        if item.question and (item.absent or (item.answerable and item.document)):
            placed = put(prompter, index, item.question, passages=passages)
            found[item.id] = None if isinstance(placed, NotStated) else placed.prompt
    own = {i.id: tuple(prompter.prompt(conversation(i.pair)[:-1])) for i in items if i.stratum != "absent"}
    return Plan(tuple(items), own, found)


def ask(
    engine: Engine, prompter: Prompter, plan: Plan, *, max_tokens: int, score: str, silence_s: float
) -> Answers:
    """Greedy answers to every prompt of the plan, scored. Raises EngineError when the engine fails on one."""
    requests = [
        Request(f"q{at}", prompt, max_tokens, (prompter.end,)) for at, prompt in enumerate(plan.prompts)
    ]
    completions = complete(engine, requests, callers=CALLERS, limit_s=silence_s)
    written = {r.prompt: _text(prompter, engine, c) for r, c in zip(requests, completions, strict=True)}
    own = [_scored(item, score, *written[plan.own[item.id]]) for item in plan.items if item.id in plan.own]
    grounded = []
    for item in plan.items:
        if item.id in plan.found:
            prompt = plan.found[item.id]
            grounded.append(_scored(item, score, *(written[prompt] if prompt else (NOT_STATED, True))))
    return Answers(tuple(own), tuple(grounded))


def _text(prompter: Prompter, engine: Engine, completion: Completion) -> tuple[str, bool]:
    if completion.finish not in ("stop", "length"):
        raise EngineError(f"{engine.name} failed on a question: {completion.error or completion.finish}")
    return prompter.decode(completion.tokens), completion.finish == "stop"


def _scored(item: Item, score: str, answer: str, ended: bool) -> Answer:
    right = NOT_STATED if item.absent else item.answer
    return Answer(
        id=item.id,
        group=item.group,
        kind=item.kind,
        answerable=item.answerable,
        right=SCORES[score](answer, right) if right != NOT_STATED else float(is_not_stated(answer)),
        stated=not is_not_stated(answer),
        answer=answer,
        ended=ended,
    )


def facts(answers: Answers, *, why: str, why_not_grounded: str, seed: int) -> dict[str, Fact]:
    """The quality facts of one verdict.

    The reasons, `why`: when nothing was asked; `why_not_grounded`: when retrieval was not measured.
    """
    names = (
        "quality.task",
        "quality.answerable",
        "quality.unanswerable",
        "quality.grounded",
        "safety.false_answer",
    )
    if not (answers.own or answers.grounded):
        return {name: Fact(None, "share", why=why) for name in names}
    yes = [a for a in answers.own if a.answerable]
    no = [a for a in answers.own if not a.answerable]
    none_answerable = "the corpus has no answerable question with a passage of its own"
    none_unanswerable = "the corpus has no question whose passage does not answer it"
    return {
        "quality.answerable": _share(yes, [a.right for a in yes], none_answerable, seed),
        "quality.unanswerable": _share(no, [a.right for a in no], none_unanswerable, seed),
        "safety.false_answer": _share(no, [float(a.stated) for a in no], none_unanswerable, seed),
        "quality.task": _macro(answers.own, seed, one_kind="every question of the corpus is of one kind"),
        "quality.grounded": _grounded(answers.grounded, why_not_grounded, seed),
    }


def _share(answers: Sequence[Answer], right: Sequence[float], why: str, seed: int) -> Fact:
    if not answers:
        return Fact(None, "share", why=why)
    return _fact(intervals.share(right, [a.group for a in answers], seed=seed))


def _macro(answers: Sequence[Answer], seed: int, *, one_kind: str) -> Fact:
    right, kinds, groups = _columns(answers)
    if not right:
        return Fact(None, "share", why=NO_PAIRS)
    if len(set(kinds)) == 1:
        return _fact(
            intervals.share(right, groups, seed=seed), f"{one_kind}: the plain share of right answers; "
        )
    return _fact(intervals.macro_mean(right, kinds, groups, seed=seed))


def _grounded(answers: Sequence[Answer], why: str, seed: int) -> Fact:
    kinds = {a.answerable for a in answers}
    if why:
        pass
    elif False not in kinds:
        why = "the corpus has no questions about things that are in none of its documents"
    elif True not in kinds:
        why = "no answerable pair names its document"
    return Fact(None, "share", why=why) if why else _macro(answers, seed, one_kind="")


def _columns(answers: Sequence[Answer]) -> tuple[list[float], list[bool], list[str]]:
    return [a.right for a in answers], [a.answerable for a in answers], [a.group for a in answers]


def _fact(interval: intervals.Interval, note: str = "") -> Fact:
    why = f"{note}{interval.items} questions in {interval.groups} groups"
    return Fact(unit="share", **interval.told(), why=why)


def paired(
    first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]], *, seed: int
) -> tuple[Fact, Fact]:
    """quality.task of `first` minus that of `second` over rows of answers.jsonl with the same id, and the
    standard error of that.

    Raises RecordError when an item's kind differs between the two.
    """
    other = {row["id"]: row for row in second}
    both = [(row, other[row["id"]]) for row in first if row["id"] in other]
    if not both:
        none = Fact(None, "share", why="the two verdicts have no question in common")
        return none, none
    if any(a["answerable"] != b["answerable"] for a, b in both):
        raise RecordError("two verdicts on the same questions disagree on which can be answered")
    right = [a["right"] for a, _ in both], [b["right"] for _, b in both]
    found = intervals.paired_difference(
        *right, [a["answerable"] for a, _ in both], [a["group"] for a, _ in both], seed=seed
    )
    return _fact(found, mcnemar(*right)), Fact(found.error, "share", n=found.groups)


def mcnemar(first: Sequence[float], second: Sequence[float]) -> str:
    """How many answers only one of the two gets right, and the exact test that both are alike (McNemar 1947).

    It takes answers for independent; the interval beside it does not.
    """
    more = sum(a > b for a, b in zip(first, second, strict=True))
    less = sum(a < b for a, b in zip(first, second, strict=True))
    n = more + less
    tail = sum(math.comb(n, k) for k in range(min(more, less) + 1)) / 2**n
    return f"{more} better, {less} worse, McNemar's exact p {min(1.0, 2 * tail):.3g}; "
