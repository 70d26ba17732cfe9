"""`release choose`: choose again from the verdicts that stand, as after a change of gates."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import ModelyardError, ProjectError
from ..flow import Node, Stale, Walk, line
from ..optimize.settings import CONVERT
from ..release.settings import CHOOSE
from ..verify.settings import MEASURE, RACE, REFERENCE
from .place import Place
from .progress import watcher
from .up import result_of
from .verdicts import candidates_table
from .voice import Voice, translate, verb


@click.group()
def release() -> None:
    """Choose the release again from the verdicts that stand."""


@release.command("choose")
@verb("release choose")
def choose(voice: Voice, folder: Path) -> None:
    """Hold the verdicts against the gates of the project file; measures finalists, tunes nothing."""
    place = Place.at(folder)
    watch = watcher(voice, lambda: "")

    def measures_or_chooses(node: Node) -> bool:
        return node.step.name in (CONVERT.name, REFERENCE.name, MEASURE.name, RACE.name, CHOOSE.name)

    walk = Walk(
        place.yard, threads=place.threads, watcher=watch, verb="release choose", may_run=measures_or_chooses
    )
    try:
        made = walk.follow(line(place.project, place.folder, place.yard))
    except Stale as stale:
        raise ProjectError(
            f"{stale.node.name} is stale, so there is nothing to choose from", try_="modelyard up"
        ) from None
    except ModelyardError as error:
        error.result = result_of(walk.done, None)
        raise
    finally:
        watch.close()
    if made is None:
        raise ProjectError("the line stopped before a release", try_="modelyard up")
    voice.done(
        result_of(walk.done, made.id),
        lambda: candidates_table(made) + "\n\n" + translate("release {id}", id=made.id),
    )
