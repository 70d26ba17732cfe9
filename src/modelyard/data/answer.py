"""data.answer: questions in; what a larger model answers out, asked once however often the step is killed."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from ..errors import SourceError
from ..prompt import NOT_STATED
from ..records.shapes import Choice, Fact, Inputs, Output, Workspace
from . import terms
from .asker import Asker
from .clean import clean
from .endpoint import Endpoint, Reply
from .items import Drop
from .journal import Journal
from .questions import Question, questions
from .settings import Answers, AnswerSettings

Row = dict[str, Any]

_REPORT_EVERY_S = 0.5


def run(settings: AnswerSettings, inputs: Inputs, workspace: Workspace) -> Output:
    """Have every open question of the source answered.

    Raises SourceError where the terms do not permit it, nothing is to be asked, or nothing is answered.
    """
    answers = settings.answers
    terms.check(settings.path, answers)
    asked = list(questions(settings, inputs.sources[0]))
    if not asked:
        raise SourceError(
            f"{settings.path} has no question without an answer",
            where=f"source {settings.path}, answers",
            try_="rows with a `question` and no `answer`, or messages that end with the user's",
        )
    with Journal(workspace.state / "said.jsonl") as journal:
        endpoint = Endpoint(settings.path, answers, _key(settings), seed=settings.seed)
        failed = _run(_ask_all(endpoint, asked, journal, workspace.report))
        rows = [journal.rows.get((q.item, q.sample)) or failed[q.item, q.sample] for q in asked]
    written = [row for row in rows if "answer" in row]
    if not written:
        raise SourceError(
            f"{answers.host} gave no answer to {len(rows)} questions, each for a reason: {_reasons(rows)}",
            where=endpoint.where,
            try_="a larger max_tokens where answers were cut, other instructions where they were refused",
        )
    _write(workspace, answers, rows)
    return Output(_facts(rows, len(asked)), tuple(_choices(answers, endpoint, rows)))


async def _ask_all(
    endpoint: Endpoint, asked: Sequence[Question], journal: Journal, report: Callable[..., None]
) -> dict[tuple[str, int], Row]:
    """Ask what the journal does not hold; returns the questions that failed, by item and sample.

    What the model said is kept for good. A failure is not: after a kill it is asked again.
    """
    waiting = iter([q for q in asked if (q.item, q.sample) not in journal.rows])
    failed: dict[tuple[str, int], Row] = {}
    progress = _Progress(report, len(asked), len(journal.rows))

    async def work(asker: Asker) -> None:
        for question in waiting:
            at = {"item": question.item, "sample": question.sample}
            try:
                journal.write(at | _said(await asker.ask(question.messages, question.sample)))
            except Drop as drop:
                failed[question.item, question.sample] = at | {"rule": drop.rule, "detail": drop.detail}
            progress.one()

    async with endpoint:
        asker = Asker(endpoint)
        async with asyncio.TaskGroup() as group:
            for _ in range(endpoint.answers.at_once):
                group.create_task(work(asker))
    return failed


def _run(asking: Coroutine[Any, Any, dict[tuple[str, int], Row]]) -> dict[tuple[str, int], Row]:
    """Run to the end; of several errors at a time, the first is told."""
    try:
        return asyncio.run(asking)
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


class _Progress:
    def __init__(self, report: Callable[..., None], total: int, before: int) -> None:
        self._report, self._total, self._before = report, total, before
        self._begun = time.monotonic()
        self._told, self._now = -1.0, 0

    def one(self) -> None:
        self._now += 1
        spent, done = time.monotonic() - self._begun, self._before + self._now
        if done < self._total and spent - self._told < _REPORT_EVERY_S:
            return
        self._told = spent
        left_s = spent / self._now * (self._total - done)
        self._report("asking the larger model", done=done, total=self._total, left_s=round(left_s, 1))


def _key(settings: AnswerSettings) -> str | None:
    name = settings.answers.key_env
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise SourceError(
            f"the environment variable {name} is not set",
            where=f"source {settings.path}, answers.key_env",
            try_=f"export {name}=… in the shell that runs `modelyard up`",
        )
    return key


def _said(reply: Reply) -> Row:
    """A reply as a row: its answer, or the rule by which it is none. Thinking is no part of an answer."""
    row: Row = {
        "model": reply.model,
        "fingerprint": reply.fingerprint,
        "input_tokens": reply.input_tokens,
        "output_tokens": reply.output_tokens,
    }
    text = clean(reply.text.rpartition("</think>")[2]).strip()
    if reply.refused:
        return row | {"rule": "answer_refused", "detail": ""}
    if reply.finish == "length" or "<think>" in text:
        return row | {"rule": "answer_cut", "detail": f"{reply.output_tokens or 'unknown'} tokens"}
    if not text:
        return row | {"rule": "answer_empty", "detail": ""}
    if text.strip(" .\"'`*") == NOT_STATED:
        text = NOT_STATED
    return row | {"answer": text}


def _reasons(rows: Sequence[Row]) -> str:
    counts = Counter(row["rule"] for row in rows if "rule" in row)
    return ", ".join(f"{rule} {count:,}" for rule, count in counts.most_common())


def _counts(rows: Sequence[Row], name: str) -> dict[str, int]:
    return dict(sorted(Counter(row[name] for row in rows if row.get(name)).items()))


def _facts(rows: Sequence[Row], asked: int) -> dict[str, Fact]:
    written = sum("answer" in row for row in rows)
    facts = {
        "data.answers": Fact(written, "answers", n=asked),
        "data.answers.failed": Fact(asked - written, "answers", n=asked, why=_reasons(rows)),
    }
    for name in ("input_tokens", "output_tokens"):
        counts = [row[name] for row in rows if row.get(name) is not None]
        unknown = Fact(None, "tokens", why="the endpoint does not tell its tokens")
        facts[f"data.answers.{name}"] = Fact(sum(counts), "tokens", n=len(counts)) if counts else unknown
    return facts


def _choices(answers: Answers, endpoint: Endpoint, rows: Sequence[Row]) -> list[Choice]:
    made = [
        Choice("terms", answers.terms, "the project file states that they permit training on its answers"),
    ]
    for name, of in (("model", "model"), ("system_fingerprint", "fingerprint")):
        counts = _counts(rows, of)
        if counts:
            told = ", ".join(f"{value} {count:,}" for value, count in counts.items())
            made.append(Choice(name, told, f"what {answers.host} says, asked for {answers.model}"))
    for name, called in endpoint.names.items():
        if called != name:
            made.append(Choice(name, called or "left out", f"{answers.host} does not take {name}"))
    return made


def _write(workspace: Workspace, answers: Answers, rows: Sequence[Row]) -> None:
    with (workspace.out / "answers.jsonl").open("w", encoding="utf-8", newline="\n") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False, sort_keys=True, allow_nan=False) + "\n")
    told: Mapping[str, Any] = {
        "host": answers.host,
        "asked_for": answers.model,
        "models": _counts(rows, "model"),
        "fingerprints": _counts(rows, "fingerprint"),
        "temperature": answers.temperature,
        "max_tokens": answers.max_tokens,
        "samples": answers.samples,
        "instructions": answers.instructions,
    }
    text = json.dumps(told, ensure_ascii=False, sort_keys=True, allow_nan=False, indent=2)
    (workspace.out / "generator.json").write_text(text + "\n", "utf-8", newline="\n")
