"""release.choose: one verdict and its index become the folder that is served, or a refusal says why not.

Reads verdicts (screens and fulls), their race, the winner's lookup and its verdict on `report`, the
candidates, the corpus (whose rights the card names) and perhaps an index; writes the release.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..errors import RecordError, Refused
from ..records.digest import canonical
from ..records.shapes import Choice, Fact, Inputs, Output, Record, Workspace, fact_json
from . import card, picture
from .again import BY_SPLIT
from .choose import Outcome, Pick, Verdict, looks_up, outcomes, pick, probed, raced, verdict
from .cost import Price
from .files import place, write_sums
from .gates import Judgement, always, judge
from .settings import ChooseSettings

RECIPE = "recipe.json"  # of the candidate; release.json tells it
INDEX_FILES = ("passages.db", "index.json")


def run(settings: ChooseSettings, inputs: Inputs, workspace: Workspace) -> Output:
    """Choose, hold the winner's report against the gates, and write the release.

    Raises Refused with a table of gates when none holds, or when the winner fails on `report`: then no second
    candidate is tried, for its pairs have been seen.
    """
    price = Price(settings.usd_per_hour, settings.price_is_assumed, settings.remote_usd_per_hour)
    race = raced(inputs.one("race")) if inputs.all("race") else {}
    probes = probed(inputs.all("probes"))
    verdicts = [verdict(record, price, race, probes) for record in inputs.all("verdicts")]
    choice = pick(verdicts, settings.gates)
    every = outcomes(verdicts, settings.gates, choice)
    drawn = picture.draw(f"{settings.project}: quality and cost", every, settings.gates)
    if choice.winner is None:
        none = Refused(f"no release: {choice.why}\n{refusal_table(every)}", try_=_advice(every))
        none.picture = drawn
        raise none
    winner = choice.winner
    on_report = [verdict(record, price) for record in inputs.all("report")]
    report = _report(winner, on_report)
    candidate = _candidate(winner, inputs)
    facts = reported(winner, report)
    for record in inputs.all("lookup"):
        facts |= record.facts
    judgements = judge(facts, {**always(winner.limits), **settings.gates})
    if any(not judgement.passed for judgement in judgements):
        lost = Outcome(report or winner, tuple(j for j in judgements if not j.passed), "a gate")
        refused = Refused(
            f"no release: {winner.label} held on select but fails on report\n{refusal_table([lost])}",
            try_="new pairs before the next attempt: those of report have been seen now",
        )
        refused.picture = drawn
        if report is not None:
            pairs = inputs.one("corpus").files["pairs.report.jsonl"].sha256
            refused.audited = {
                "pairs": pairs,
                "model": winner.tuned,
                "file": candidate.digest,
                "engine": winner.engine,
                "failed": [judgement.gate for judgement in lost.failed],
            }
        raise refused
    index = inputs.one("index") if inputs.all("index") else None
    for path in sorted(
        path for path in candidate.folder.rglob("*") if path.is_file() and path.name != RECIPE
    ):
        place(path, workspace.out / path.relative_to(candidate.folder))
    for name in INDEX_FILES if index else ():
        place(index.folder / name, workspace.out / name) if index else None
    told = _told(settings, choice, winner, candidate, report, facts, judgements, index, every)
    (workspace.out / "release.json").write_bytes(canonical(told))
    text = card.write(
        settings,
        choice,
        winner,
        facts=facts,
        judgements=judgements,
        on_report=report is not None,
        base=candidate.json("base.json"),
        sources=inputs.one("corpus").json("sources.json"),
        index=index.json("index.json") if index else None,
        compared=on_report,
    )
    (workspace.out / "README.md").write_text(text, "utf-8")
    (workspace.out / picture.NAME).write_text(drawn, "utf-8")
    write_sums(workspace.out)
    choices = [Choice("winner", winner.label, choice.why)]
    if inputs.all("lookup"):
        worth = "the same answers, sooner" if told["lookup"] else "not the same, or not sooner for certain"
        choices.append(Choice("prompt lookup", "on" if told["lookup"] else "off", worth))
    return Output(facts, tuple(choices))


def _advice(every: Sequence[Outcome]) -> str:
    advice = "a gate that fits what was measured, more training, or another base"
    if any("engine failed" in failed.why for outcome in every for failed in outcome.failed):
        return f"`modelyard up` once more: it asks an engine that failed again; or {advice}"
    return advice


def reported(winner: Verdict, report: Verdict | None) -> dict[str, Fact]:
    """The facts of the release: quality from `report` alone, the rest from there if measured again."""
    if report is None:
        return dict(winner.facts)
    again = {name: fact for name, fact in report.facts.items() if fact.value is not None}
    carried = {name: fact for name, fact in winner.facts.items() if not name.startswith(BY_SPLIT)}
    return {**report.facts, **carried, **again}


def refusal_table(outcomes: Sequence[Outcome]) -> str:
    """Candidate, gate, value and limit of every gate that does not hold, a line each."""
    cells = [("candidate", "gate", "value", "limit", "why")]
    for outcome in outcomes:
        for failed in outcome.failed:
            value = "unmeasured" if failed.value is None else f"{failed.value:.4g}"
            cells.append(
                (outcome.verdict.label, failed.gate, value, f"{failed.kind} {failed.limit:g}", failed.why)
            )
    if len(cells) == 1:
        return "(nothing was measured in full, or nothing has a cost)"
    widths = [max(len(line[at]) for line in cells) for at in range(4)]
    return "\n".join(
        "  ".join([*(c.ljust(w) for c, w in zip(line, widths, strict=False)), line[4]]) for line in cells
    )


def _report(winner: Verdict, on_report: Sequence[Verdict]) -> Verdict | None:
    """The winner's verdict on `report`; None for a project without pairs."""
    found = [v for v in on_report if v.what == winner.what]
    if not found and winner.has_pairs:
        raise RecordError(
            f"{winner.label} was not scored on report",
            try_="`up`, which scores the winner before it is released",
        )
    return found[0] if found else None


def _candidate(winner: Verdict, inputs: Inputs) -> Record:
    for record in inputs.all("candidates"):
        if record.digest == winner.candidate:
            return record
    raise RecordError(f"the winner's candidate {winner.candidate} is not among the inputs")


def _told(
    settings: ChooseSettings,
    choice: Pick,
    winner: Verdict,
    candidate: Record,
    report: Verdict | None,
    facts: Mapping[str, Fact],
    judgements: Sequence[Judgement],
    index: Record | None,
    every: Sequence[Outcome],
) -> dict[str, Any]:
    """release.json: what serving needs to know, and what was decided."""
    p99 = winner.facts.get("task.answer_tokens_p99")
    return {
        "project": settings.project,
        "engine": winner.engine,
        "threads": winner.threads,
        "lookup": looks_up(facts),
        "recipe": winner.recipe,
        "task": settings.task,
        "ground": settings.ground if index else None,
        "score_limit": index.json("index.json")["limit"] if index else None,
        "answer_tokens_p99": p99.value if p99 else None,
        "max_answer_tokens": winner.max_answer_tokens,
        "facts": fact_json(facts),
        "gates": [asdict(judgement) for judgement in judgements],
        "winner": {
            "candidate": candidate.id,
            "verdict": winner.id,
            "report": report.id if report else None,
            "why": choice.why,
        },
        "excused": {
            name: gate.excuse.model_dump(mode="json")
            for name, gate in settings.gates.items()
            if gate.excuse is not None
        },
        "left_out": list(settings.left_out),
        "candidates": [
            {
                "label": outcome.verdict.label,
                "verdict": outcome.verdict.id,
                "fidelity": outcome.verdict.fidelity,
                "facts": fact_json(outcome.verdict.facts),
                "failed": [asdict(judgement) for judgement in outcome.failed],
                "out": outcome.out,
            }
            for outcome in every
        ],
    }
