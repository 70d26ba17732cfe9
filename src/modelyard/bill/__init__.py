"""The room of money: prices, customers, contracts, rating, usage, the invoice, and events in and out."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "Plan": "settings",
    "Prices": "settings",
    "Rates": "rates",
    "PlanVersion": "plans",
    "TOKENS": "plans",
    "current": "plans",
    "get": "plans",
    "publish": "prices",
    "rates_of": "prices",
    "rerate": "prices",
    "Customer": "customers",
    "ContractVersion": "contracts",
    "open_contract": "contracts",
    "Rated": "rating",
    "UsageEvent": "rating",
    "rate": "rating",
    "preview": "invoice",
    "usage": "report",
}

__all__ = [
    "TOKENS",
    "ContractVersion",
    "Customer",
    "Plan",
    "PlanVersion",
    "Prices",
    "Rated",
    "Rates",
    "UsageEvent",
    "current",
    "get",
    "open_contract",
    "preview",
    "publish",
    "rate",
    "rates_of",
    "rerate",
    "usage",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f".{_WHERE[name]}", __name__), name)
    raise AttributeError(f"the bill room offers no {name}")
