"""The training room: a base model becomes a Model record, and a Model learns from a Corpus."""

from __future__ import annotations

from .settings import (
    BASE,
    SEARCH,
    TUNE,
    BaseSettings,
    Budget,
    Lora,
    Method,
    Search,
    SearchSettings,
    Train,
    TuneSettings,
)

__all__ = [
    "BASE",
    "SEARCH",
    "TUNE",
    "BaseSettings",
    "Budget",
    "Lora",
    "Method",
    "Search",
    "SearchSettings",
    "Train",
    "TuneSettings",
]
