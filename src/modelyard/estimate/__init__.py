"""Formulas of what models cost: operations and memory, by term. Pure functions without state."""

from __future__ import annotations
