"""The release's README.md: a model card in Hugging Face's format, made of what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..records.facts import FACTS
from ..records.shapes import Fact
from .choose import Pick, Verdict
from .gates import Judgement
from .settings import ChooseSettings

HEADLINES = ("quality.task", "quality.answerable", "quality.unanswerable", "quality.grounded")
# Licences that the hub knows by name (https://huggingface.co/docs/hub/repositories-licenses).
HUB_LICENCES = """
apache-2.0 mit bsd-2-clause bsd-3-clause cc0-1.0 cc-by-4.0 cc-by-sa-4.0 cc-by-nc-4.0 gpl-3.0 lgpl-3.0 mpl-2.0
openrail llama2 llama3 llama3.1 llama3.2 llama3.3 gemma unlicense wtfpl isc zlib artistic-2.0 bsl-1.0
"""
LIBRARIES = {"safetensors": "transformers"}  # as the hub calls what opens a format
READERS = {
    "gguf": "GGUF",
    "openvino": "OpenVINO IR",
    "onnx": "ONNX Runtime GenAI's folders",
    "litert": "LiteRT",
}
GAIN_ROWS = ("gain.task", "loss.task", "safety.false_answer")


def write(
    settings: ChooseSettings,
    choice: Pick,
    winner: Verdict,
    *,
    facts: Mapping[str, Fact],
    judgements: Sequence[Judgement],
    on_report: bool,
    base: Mapping[str, Any],
    sources: Mapping[str, Any],
    index: Mapping[str, Any] | None,
    compared: Sequence[Verdict],
) -> str:
    """The card as text. `compared`: verdicts on `report` of the winner, the base and the reference."""
    import yaml

    head = yaml.safe_dump(
        _front(settings, winner, facts, base, sources, index), sort_keys=False, allow_unicode=True, width=1000
    )
    parts = [
        f"# {settings.project}",
        _first_line(facts, on_report, settings.earlier_looks),
        _about(settings, winner, base, index),
        "## Measured",
        _facts(facts),
        *(["## On the same questions", _compared(compared)] if len(compared) > 1 else []),
        "## Gates",
        _gates(judgements),
        "## Candidates",
        _candidates(choice, winner),
        "## Data",
        _sources(sources, index),
        "## Limits",
        _limits(facts, judgements, base, index, winner),
        "## How to run",
        _how(winner),
    ]
    return f"---\n{head}---\n\n" + "\n\n".join(parts) + "\n"


def _front(
    settings: ChooseSettings,
    winner: Verdict,
    facts: Mapping[str, Fact],
    base: Mapping[str, Any],
    sources: Mapping[str, Any],
    index: Mapping[str, Any] | None,
) -> dict[str, Any]:
    licence = str(base.get("licence") or "unknown")
    known = licence.lower() in HUB_LICENCES.split()
    front: dict[str, Any] = {"license": licence.lower() if known else "other"}
    if not known:
        front["license_name"] = licence
    front["base_model"] = str(base.get("name") or "unknown")
    languages = sorted((index or {}).get("languages") or {})
    if languages:
        front["language"] = languages
    form = str(winner.recipe["format"])
    front |= {"library_name": LIBRARIES.get(form, form), "pipeline_tag": "text-generation"}
    front["tags"] = sorted({"modelyard", form, str(winner.recipe["type"]).lower(), winner.engine})
    metrics = [
        {"type": name, "name": FACTS[name].text, "value": round(facts[name].value or 0.0, 4)}
        for name in HEADLINES
        if name in facts and facts[name].value is not None
    ]
    if metrics:
        result = {
            "task": {"type": "text-generation"},
            "dataset": {"name": f"{settings.project}, held-out pairs", "type": settings.project},
            "metrics": metrics,
        }
        front["model-index"] = [{"name": settings.project, "results": [result]}]
    return front


def _first_line(facts: Mapping[str, Fact], on_report: bool, earlier_looks: int) -> str:
    headline = facts.get("quality.task")
    if headline is None or headline.value is None:
        why = headline.why if headline else "no step measured it"
        return f"**The quality of its answers is unmeasured: {why}.**"
    where = "pairs of `report`, looked at once" if on_report else "pairs of `select`"
    if on_report and earlier_looks:
        where = f"pairs of `report`, which {earlier_looks} other candidates had been scored on before"
    return f"**{FACTS['quality.task'].text.capitalize()}: {_value(headline)}** on {where} ({headline.why})."


def _about(
    settings: ChooseSettings, winner: Verdict, base: Mapping[str, Any], index: Mapping[str, Any] | None
) -> str:
    lines = [
        f"`{_file(winner)}` is {base.get('name', 'the base model')} as {winner.label},",
        f"{winner.threads} threads, released by Modelyard as the cheapest of its candidates",
        "to keep every gate.",
    ]
    if index is not None:
        limit = index.get("limit")
        lines.append("It answers from the indexed documents, with citations.")
        if limit is None:
            lines.append(
                "No score limit could be calibrated: whether an answer is stated is left to the model."
            )
        else:
            lines.append(f"When the best passage scores below {limit:.3g}, the answer is NOT STATED.")
    return "\n".join(lines)


def _facts(facts: Mapping[str, Fact]) -> str:
    rows = [("fact", "value", "95% interval", "n", "meaning")]
    for name in FACTS:
        fact = facts.get(name)
        if fact is None:
            continue
        interval = "" if fact.low is None or fact.high is None else f"{fact.low:.4g} to {fact.high:.4g}"
        value = "unmeasured" if fact.value is None else _number(fact)
        meaning = FACTS[name].text if fact.value is not None else f"{FACTS[name].text} ({fact.why})"
        rows.append((f"`{name}`", value, interval, "" if fact.n is None else str(fact.n), meaning))
    return _table(rows)


def _compared(compared: Sequence[Verdict]) -> str:
    rows: list[tuple[str, ...]] = [("on report", *HEADLINES, *GAIN_ROWS)]
    for verdict in sorted(compared, key=lambda v: (v.label, v.id)):
        rows.append(
            (
                f"{verdict.label} ({verdict.candidate[:12]})",
                *(_value(verdict.facts.get(name)) for name in (*HEADLINES, *GAIN_ROWS)),
            )
        )
    return _table(rows)


def _gates(judgements: Sequence[Judgement]) -> str:
    rows = [("gate", "value", "limit", "kept", "compared")]
    for j in judgements:
        value = "unmeasured" if j.value is None else f"{j.value:.4g}"
        kept = "**no, excused**" if j.excused else "yes" if j.passed else "no"
        why = f"{j.why}. {j.excused}" if j.excused else j.why
        rows.append((f"`{j.gate}`", value, f"{j.kind} {j.limit:g}", kept, why))
    return _table(rows)


def _candidates(choice: Pick, winner: Verdict) -> str:
    names = ("quality.task", "cost.usd_per_1k_answers", "speed.decode_tps.c8", "latency.ttft_p95_s.c1")
    rows: list[tuple[str, ...]] = [("candidate", *names, "outcome")]
    for row in sorted(
        choice.rows, key=lambda row: row.verdict.number("cost.usd_per_1k_answers", float("inf"))
    ):
        outcome = "keeps every gate" if not row.failed else "fails " + ", ".join(j.gate for j in row.failed)
        if row.verdict.id == winner.id:
            outcome = f"**released**: {choice.why}"
        rows.append((row.verdict.label, *(_value(row.verdict.facts.get(name)) for name in names), outcome))
    return _table(rows) + "\n\nMeasured in full on `select`; what a screen ruled out is not listed."


def _sources(sources: Mapping[str, Any], index: Mapping[str, Any] | None) -> str:
    rows: list[tuple[str, ...]] = [("source", "licence", "owner", "basis")]
    rows += [
        tuple(str(s.get(key, "")) for key in ("path", "licence", "owner", "basis"))
        for s in sources["sources"]
    ]
    text = _table(rows)
    for source in sources["sources"]:
        if told := source.get("answers"):
            models = ", ".join(told["models"]) or told["asked_for"]
            text += (
                f"\n\n{told['pairs']:,} answers of `{source['path']}` are synthetic: written by {models}"
                f" (terms: {told['terms']})."
            )
    if index is not None:
        count = index.get("passages", "the")
        text += f"\n\n`passages.db` holds {count} passages of these documents, each with its rights."
    return text


def _limits(
    facts: Mapping[str, Fact],
    judgements: Sequence[Judgement],
    base: Mapping[str, Any],
    index: Mapping[str, Any] | None,
    winner: Verdict,
) -> str:
    limits = [f"Base: {note}" for note in base.get("notes") or ()]
    limits += [
        f"`{name}` is unmeasured: {fact.why}." for name, fact in sorted(facts.items()) if fact.value is None
    ]
    if index is not None and index.get("calibration"):
        limits.append(
            "The score limit was calibrated without pairs, on questions made from headings, and"
            " `index.false_accept` is of such questions that a limit was not chosen on: real questions"
            " are worded otherwise."
        )
    limits += [f"The gate on `{j.gate}` is missed; {j.excused}." for j in judgements if j.excused]
    limits.append(f"Answers are cut at {winner.max_answer_tokens} tokens, as they were when measured.")
    limits.append("Speed, memory and cost hold for the machine that measured them.")
    return "\n".join(f"- {limit}" for limit in limits)


def _how(winner: Verdict) -> str:
    form = str(winner.recipe["format"])
    return (
        'In the project\'s folder: `modelyard try "your question"`.\n'
        "Check the files with `sha256sum -c SHA256SUMS`.\n"
        f"`{_file(winner)}` also opens in any program that reads {READERS.get(form, form)}; it was"
        f" measured on {winner.engine}."
    )


def _file(winner: Verdict) -> str:
    return "model.gguf" if winner.recipe["format"] == "gguf" else "model/"


def _value(fact: Fact | None) -> str:
    if fact is None or fact.value is None:
        return "unmeasured"
    interval = "" if fact.low is None or fact.high is None else f" ({fact.low:.3g} to {fact.high:.3g})"
    return f"{fact.value:.3g}{interval}"


def _number(fact: Fact) -> str:
    return f"{fact.value:.4g} {fact.unit}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its first row the head; bars and line ends in cells are escaped."""
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])
