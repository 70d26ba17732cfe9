"""Projects for the tests of plans: small ones, and any that hypothesis can think of."""

from __future__ import annotations

from datetime import date
from typing import Any

from modelyard.plan.inputs import Inputs, Offer, Sold
from modelyard.plan.options import this_machine
from modelyard.plan.settings import Plan
from modelyard.plan.standing import Standing, Tuned
from modelyard.records.shapes import Fact

TODAY = date(2026, 11, 29)
ANA = {
    "name": "Ana",
    "hours_per_week": 40,
    "usd_per_hour": 50,
    "role": "owner",
    "skills": {"domain": 3, "data": 2, "evaluation": 2, "tuning": 2},
}
BO = {"name": "Bo", "hours_per_week": 20, "usd_per_hour": 40, "skills": {"serving": 2, "sales": 1}}
BUSINESS = {
    "cash": 60000,
    "revenue": [
        {"kind": "subscription", "plan": "starter", "new_per_month": [1, 2, 4],
         "tokens_per_month": [1e5, 1e6, 5e6]},
        {"kind": "service", "hours_per_month": [10, 30, 50], "per_hour": 120},
        {"kind": "product", "copies_per_month": [0, 0.2, 0.5], "price": 5000},
        {"kind": "annotation", "units_per_month": [500, 900, 1500], "price": 1.5, "seconds": [40, 60, 90],
         "wage_per_hour": 20},
    ],
    "funding": [
        {"kind": "grant", "amount": [10000, 20000, 30000], "chance": 0.5},
        {"kind": "compute credit", "amount": 2000, "lead_months": [0, 1, 2]},
    ],
}  # fmt: skip


def plan(**changed: Any) -> Plan:
    """A plan with everything told."""
    told: dict[str, Any] = {
        "money": 30000,
        "deadline": "2027-08-01",
        "load": {"requests_per_day": 2000},
        "has": {"documents": 500, "pairs": 3000},
        "team": [ANA, BO],
        "business": BUSINESS,
    }
    told.update(changed)
    return Plan.model_validate({name: value for name, value in told.items() if value is not None})


def inputs(told: Plan | None = None, **changed: Any) -> Inputs:
    """A project on this machine, with nothing measured unless `changed` says so."""
    each: dict[str, Any] = {
        "plan": told or plan(),
        "standing": Standing(),
        "here": this_machine(0.08),
        "today": TODAY,
        "task": "extract",
        "base": "smollm2-135m-instruct",
        "parameters": 135e6,
        "whole": False,
        "kind": "lora",
        "budget_tokens": 80_000,
        "input_tokens": 125.0,
        "output_tokens": 8.0,
        "gates": {"quality.task": 0.1, "safety.false_answer": 0.6},
        "sources": ("docs", "pairs.jsonl"),
        "offers": {"starter": Offer(29, 2e6, 0.3, 1.2)},
    }
    return Inputs(**each | changed)


def measured(**changed: float) -> Standing:
    """A yard that has released something."""
    values = {
        "data.documents": 6000,
        "data.pairs.train": 4000,
        "model.parameters": 134.5e6,
        "train.tokens": 80_000,
        "quality.task": 0.88,
        "gain.task": 0.87,
        "speed.prefill_tps.c1": 1900,
        "speed.decode_tps.c1": 77,
        "speed.decode_tps.c8": 204,
        "cost.usd_per_mtok": 0.0127,
        "latency.ttft_p95_s.c1": 0.08,
        "retrieval.hit": 0.92,
    } | changed
    facts = {
        name: (Fact(value, "", low=value * 0.95, high=value * 1.02), f"{at:08d}-1")
        for at, (name, value) in enumerate(values.items())
    }
    run = Tuned("tuned000-1", 80_000, 430.0, 194.0, whole=False, roof_share=0.5)
    label = "gguf F16 on openvino"
    return Standing(facts, [run], release="release0-1", label=label, untuned=(0.01, "base0000-1"))


def sold(**changed: Any) -> Sold:
    """Three months of three customers."""
    each = {
        "customers": 3,
        "requests": 3000,
        "input_tokens": 9_000_000,
        "output_tokens": 600_000,
        "months": 3.0,
        "largest_share": 0.4,
    }
    return Sold(**each | changed)
