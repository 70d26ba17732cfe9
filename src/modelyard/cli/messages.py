"""An error's English sentence in the chosen language, by the template that made it.

Rooms raise errors in English and know no language. The catalogue holds each sentence with {} where something
was filled in; here the template is found again and what filled it is put into the translation.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources

CATALOGUE = "errors.zh.json"
PLAN = "plan.zh.json"  # what plans say of a project


def localise(text: str, catalogue: str = CATALOGUE) -> str:
    """`text` in Chinese where a template of the catalogue fits, else as it is.

    Of several that fit, the one with the most words of its own. What fills a sentence of a plan may be one
    itself.
    """
    plain, patterns = _catalogue(catalogue)
    if text in plain:
        return plain[text]
    for pattern, chinese in patterns:
        if found := pattern.fullmatch(text):
            parts = [part or "" for part in found.groups()]
            return chinese.format(*(parts if catalogue == CATALOGUE else (localise(p, PLAN) for p in parts)))
    head, line_end, rest = text.partition("\n")
    return localise(head, catalogue) + line_end + rest if line_end else text


def has(text: str, catalogue: str) -> bool:
    """Whether the catalogue holds this very sentence."""
    return text in _catalogue(catalogue)[0]


@cache
def _catalogue(name: str) -> tuple[dict[str, str], list[tuple[re.Pattern[str], str]]]:
    told: dict[str, str] = json.loads(resources.files("modelyard.cli").joinpath(name).read_text("utf-8"))
    plain = {english: chinese for english, chinese in told.items() if "{}" not in english}
    templates = sorted((e for e in told if e not in plain), key=lambda e: -len(e.replace("{}", "")))
    patterns = ["(.*?)".join(map(re.escape, english.split("{}"))) for english in templates]
    return plain, [(re.compile(p, re.DOTALL), told[e]) for p, e in zip(patterns, templates, strict=True)]
