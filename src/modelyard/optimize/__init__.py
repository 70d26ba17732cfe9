"""Optimize: a Model in, a Candidate out: one file that engines run, and the recipe that made it."""

from __future__ import annotations

from .settings import CONVERT, GGUF_TYPES, ConvertSettings, GgufType

__all__ = ["CONVERT", "GGUF_TYPES", "ConvertSettings", "GgufType"]
