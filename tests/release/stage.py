"""Verdicts with known facts, and records around folders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelyard.records.shapes import Fact, FileEntry, Record, Workspace, fact_json
from modelyard.release.choose import Verdict

PRICE = 3.6  # USD an hour
MIX = {"callers": 8, "input_tokens": 250, "output_tokens": 30}
LIMITS = {"parity.fault": 0.1, "parity.kl": 1.0}


def share(value: float, spread: float = 0.03) -> Fact:
    """A share with an interval of `spread` to either side."""
    return Fact(
        value, "share", n=100, low=max(0.0, value - spread), high=min(1.0, value + spread), level=0.95
    )


def unmeasured(unit: str = "share", why: str = "nobody looked") -> Fact:
    """A fact without a value."""
    return Fact(None, unit, why=why)


def facts(cost: float = 0.01, task: float | None = 0.9, loss: float = 0.0, **more: Fact) -> dict[str, Fact]:
    """The facts of a verdict that keeps every gate; `more` by names with _ for the dots."""
    quality = unmeasured() if task is None else share(task)
    found = {
        "parity.identity": Fact(0.0, "differences"),
        "parity.fault": Fact(0.02, "nats", n=32),
        "parity.kl": Fact(0.05, "nats/token", n=32),
        "speed.s_per_1k_answers": Fact(cost * 3600 / PRICE, "s/1k answers", n=16),
        "cost.usd_per_1k_answers": Fact(cost, "USD/1k answers", n=16),
        "latency.ttft_p95_s.c1": Fact(0.4, "s", n=8),
        "quality.task": quality,
        "loss.task": share(loss)
        if loss >= 0.03
        else Fact(loss, "share", low=loss - 0.03, high=loss + 0.03, level=0.95),
        "task.answer_tokens_p99": Fact(12.0, "tokens"),
    }
    return found | {name.replace("__", "."): fact for name, fact in more.items()}


def verdict(
    id: str = "v",
    *,
    candidate: str = "c4",
    kind: str = "Q4_0",
    engine: str = "openvino",
    fidelity: str = "full",
    split: str = "select",
    has_pairs: bool = True,
    found: Mapping[str, Fact] | None = None,
) -> Verdict:
    """A verdict on a candidate."""
    return Verdict(
        id=id,
        candidate=candidate,
        recipe={"format": "gguf", "type": kind, "model": "m"},
        engine=engine,
        threads=2,
        fidelity=fidelity,
        split=split,
        has_pairs=has_pairs,
        max_answer_tokens=12,
        facts=facts() if found is None else found,
        limits=LIMITS,
    )


def record(id: str, folder: Path, found: Mapping[str, Fact] | None = None) -> Record:
    """A record whose files are those of `folder`."""
    files = {"pairs.report.jsonl": FileEntry("5" * 64, 1)}
    return Record(id, "step", id, id, {}, {}, found or {}, (), files, {}, "", "", 0.0, 1, view=lambda: folder)


def verdict_record(found: Verdict, folder: Path) -> Record:
    """The verdict as verify.measure would have recorded it."""
    folder.mkdir(parents=True)
    told: dict[str, Any] = {
        name: getattr(found, name)
        for name in ("candidate", "engine", "threads", "fidelity", "split", "has_pairs", "max_answer_tokens")
    }
    told |= {"recipe": dict(found.recipe), "limits": dict(found.limits), "mix": MIX}
    (folder / "verdict.json").write_text(json.dumps(told), "utf-8")
    measured = {name: fact for name, fact in found.facts.items() if not name.startswith("cost.")}
    return record(found.id, folder, measured)


def race_record(seconds: Mapping[str, Fact], folder: Path) -> Record:
    """A race of candidates on openvino: seconds for a thousand answers by candidate."""
    folder.mkdir(parents=True)
    contenders = [
        {
            "candidate": candidate,
            "engine": "openvino",
            "threads": 2,
            "facts": fact_json({"speed.s_per_1k_answers": fact}),
        }
        for candidate, fact in seconds.items()
    ]
    (folder / "race.json").write_text(json.dumps({"contenders": contenders}), "utf-8")
    return record("race", folder)


def workspace(folder: Path) -> Workspace:
    """A workspace in `folder` that tells nobody of its progress."""
    for name in ("out", "state"):
        (folder / name).mkdir(parents=True)
    return Workspace(folder, 2, lambda *_, **__: None)
