"""The room of records: what was asked, what came out, and the proof of both."""

from __future__ import annotations

from .shapes import Choice, Fact, FileEntry, Inputs, Output, Record, SourceFiles, Step, Workspace

__all__ = ["Choice", "Fact", "FileEntry", "Inputs", "Output", "Record", "SourceFiles", "Step", "Workspace"]
