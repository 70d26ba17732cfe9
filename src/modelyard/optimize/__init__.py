"""Optimize: a Model in, a Candidate out: what engines run, and the recipe that made it."""

from __future__ import annotations

from .settings import CONVERT, FILE_KINDS, UNQUANTISED, ConvertSettings, FileKind, Server

__all__ = ["CONVERT", "FILE_KINDS", "UNQUANTISED", "ConvertSettings", "FileKind", "Server"]
