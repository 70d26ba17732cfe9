"""How a verb speaks: its result on stdout, its story on stderr, or one JSON object; in two languages."""

from __future__ import annotations

import functools
import json as json_
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

import click

from ..errors import ModelyardError

SCHEMA = "modelyard/1"

_catalogue: dict[str, str] = {}


def language(arguments: Sequence[str]) -> None:
    """Take the language from `--lang`, else from the locale; Chinese is read from its catalogue."""
    named = ""
    for at, argument in enumerate(arguments):
        if argument == "--lang" and at + 1 < len(arguments):
            named = arguments[at + 1]
        elif argument.startswith("--lang="):
            named = argument.partition("=")[2]
    if not named:
        named = next(
            (os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), "en"
        )
    choose("zh" if named.lower().startswith("zh") else "en")


def chosen() -> str:
    """en or zh."""
    return "zh" if _catalogue else "en"


def choose(named: str) -> None:
    """Speak this language from now on."""
    _catalogue.clear()
    if named == "zh":
        text = resources.files("modelyard.cli").joinpath("zh.json").read_text("utf-8")
        _catalogue.update(json_.loads(text))


def translate(text: str, /, **values: Any) -> str:
    """`text` in the chosen language, its {places} filled in."""
    chosen = _catalogue.get(text, text)
    return chosen.format(**values) if values else chosen


def spoken(text: str) -> str:
    """A room's English sentence in the chosen language, where its catalogue has it."""
    if not _catalogue:
        return text
    from .messages import localise

    return localise(text)


def said(text: str) -> str:
    """A sentence of the plan in the chosen language, part by part where "; " joins several."""
    if not _catalogue or not text:
        return text
    from .messages import PLAN, has, localise

    parts = [text] if has(text, PLAN) else text.split("; ")
    return "；".join(localise(part, PLAN) for part in parts)


class Voice:
    """What one call of a verb says."""

    def __init__(self, verb: str, *, json: bool = False) -> None:
        self.verb = verb
        self.json = json
        self.warnings: list[str] = []

    def story(self, text: str) -> None:
        """A line for whoever watches."""
        click.echo(text, err=True)

    def warn(self, text: str) -> None:
        """Something that the user should know although the verb goes on."""
        self.warnings.append(text)
        if not self.json:
            self.story(translate("warning: {text}", text=text))

    def done(self, result: Mapping[str, Any], text: str | Callable[[], str]) -> None:
        """The verb's result: an object, or `text` for a person."""
        if self.json:
            self._object(ok=True, result=result, error=None)
        else:
            click.echo(text() if callable(text) else text)

    def fail(
        self, code: str, what: str, where: str, try_: str, result: Mapping[str, Any] | None = None
    ) -> None:
        """The verb's failure, its sentences in the chosen language."""
        what, try_ = spoken(what), spoken(try_)
        if self.json:
            error = {"code": code, "what": what, "where": where, "try": try_}
            self._object(ok=False, result=result, error=error)
            return
        self.story(translate("error: {what}", what=what))
        if where:
            self.story("  " + translate("where: {where}", where=where))
        if try_:
            self.story("  " + translate("try: {try_}", try_=try_))

    def _object(self, *, ok: bool, result: Mapping[str, Any] | None, error: Mapping[str, str] | None) -> None:
        whole = {
            "schema": SCHEMA,
            "ok": ok,
            "verb": self.verb,
            "result": result,
            "warnings": self.warnings,
            "error": error,
        }
        click.echo(json_.dumps(whole, ensure_ascii=False, allow_nan=False))


def verb(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a verb its common options and turn errors into what, where, try and an exit code.

    The function gets `voice` and `folder` (where to look for the project file) first.
    """

    def wrap(function: Callable[..., None]) -> Callable[..., None]:
        @click.option(
            "--project",
            "folder",
            type=click.Path(path_type=Path),
            default=Path("."),
            help="Folder of the project.",
        )
        @click.option("--json", is_flag=True, help="One JSON object on stdout.")
        @click.option("--lang", type=click.Choice(["en", "zh"]), help="Language of messages.")
        @click.option("--debug", is_flag=True, help="Show tracebacks.")
        @functools.wraps(function)
        def call(*args: Any, folder: Path, json: bool, lang: str | None, debug: bool, **options: Any) -> None:
            voice = Voice(name, json=json)
            try:
                function(voice, folder.absolute(), *args, **options)
            except ModelyardError as error:
                _end(voice, error, debug)

        return call

    return wrap


def _end(voice: Voice, error: ModelyardError, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exception(error)
    result = getattr(error, "result", None)
    voice.fail(error.code, error.what, error.where, error.try_, result)
    sys.exit(error.exit_code)
