"""The data room: from the files of a project to a corpus, and from a corpus to an index."""

from __future__ import annotations

from .settings import (
    ANSWER,
    INDEX,
    PREPARE,
    Answers,
    AnswerSettings,
    Basis,
    Fields,
    Ground,
    HoldOut,
    IndexSettings,
    PrepareSettings,
    Source,
    Task,
)

__all__ = [
    "ANSWER",
    "INDEX",
    "PREPARE",
    "AnswerSettings",
    "Answers",
    "Basis",
    "Fields",
    "Ground",
    "HoldOut",
    "IndexSettings",
    "PrepareSettings",
    "Source",
    "Task",
]
