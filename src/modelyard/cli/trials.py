"""The table of a search: every trial, what it gave and cost, why it was stopped; then what was gained."""

from __future__ import annotations

from typing import Any

from ..records.shapes import Fact, Record
from .table import duration, measured, table
from .voice import translate


def trials_table(search: Record) -> str:
    """Trials from the lowest loss up, and the difference to the default settings."""
    told = search.json("search.json")
    rows = []
    for trial in sorted(told["trials"], key=_order):
        loss = Fact(**trial["loss_select"])
        rows.append(
            [
                str(trial["number"]),
                f"{trial['learning_rate']:g}",
                str(trial["rank"] or "-"),
                f"{trial['tokens']:,}",
                measured(loss),
                duration(trial["seconds"]),
                f"{trial['usd']:.4f}",
                _outcome(trial),
            ]
        )
    head = ["trial", "learning_rate", "rank", "tokens", "loss on select", "took", "USD", "outcome"]
    return f"{table(head, rows)}\n\n{_gained(search)}"


def _order(trial: dict[str, Any]) -> tuple[bool, float]:
    value = trial["loss_select"]["value"]
    return value is None, value or 0.0


def _outcome(trial: dict[str, Any]) -> str:
    texts = {
        "chosen": translate("chosen"),
        "in full": translate("on all tokens, not the lowest"),
        "out of minutes": translate("stopped: the minutes were over"),
        "fell apart": translate("fell apart: {why}", why=trial.get("why", "")),
    }
    text = texts.get(trial["outcome"]) or translate(
        "stopped: place {place} of {of}, {on} went on", place=trial["place"], of=trial["of"], on=trial["on"]
    )
    return translate("{text} (the default)", text=text) if trial["default"] else text


def _gained(search: Record) -> str:
    gain, default = search.fact("gain.search"), search.fact("search.loss_default")
    if gain.value is None:
        return translate("the default settings gave no loss: {why}", why=gain.why)
    if gain.low is None:
        return translate("the default settings gave {loss}", loss=measured(default))
    return translate(
        "the default settings gave {loss}, {gain} nats/token more, pair by pair; the same pairs chose, which "
        "flatters the chosen ones a little",
        loss=measured(default),
        gain=measured(gain),
    )
