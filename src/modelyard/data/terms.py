"""The terms of a larger model: nothing is asked, and no answer is used, unless they permit training on it."""

from __future__ import annotations

import re

from ..errors import SourceError
from . import licences
from .settings import Answers

_URL = re.compile(r"https?://[^\s/]+\S*")


def check(path: str, answers: Answers) -> None:
    """Raise SourceError unless the terms are named and the team has stated that they permit training."""
    where = f"source {path}, answers"
    if not _URL.fullmatch(answers.terms):
        unknown = licences.first_unknown(answers.terms)
        if unknown is not None:
            raise SourceError(
                f"the terms of {answers.model} are neither a URL nor a known licence: {answers.terms!r}",
                where=where,
                try_=f"terms: the URL of its terms, or {licences.suggestion(unknown)}",
            )
    if answers.permits_training is None:
        raise SourceError(
            f"nobody has stated that the terms of {answers.model} permit training on its answers",
            where=where,
            try_="read its terms; `permits_training: true` in the source once they permit it",
        )
    if not answers.permits_training:
        raise SourceError(
            f"the terms of {answers.model} do not permit training on its answers, as the project file states",
            where=where,
            try_="another model, such as one under Apache-2.0 or MIT on a server of your own",
        )
