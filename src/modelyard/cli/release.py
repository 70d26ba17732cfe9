"""`release`: choose again from the verdicts that stand, or serve an earlier release again."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import ModelyardError, ProjectError
from ..flow import Node, Stale, Walk, line
from ..optimize.settings import CONVERT
from ..records.clock import now_us
from ..release.settings import CHOOSE
from ..verify.settings import MEASURE, RACE, REFERENCE
from .place import Place
from .progress import watcher
from .up import result_of
from .verdicts import candidates_table
from .voice import Voice, translate, verb


@click.group()
def release() -> None:
    """Choose the release again, or serve an earlier one."""


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


@release.command("roll-back")
@click.argument("id", required=False)
@click.option("--reason", required=True, help="Why; it is kept.")
@verb("release roll-back")
def roll_back(voice: Voice, folder: Path, id: str | None, reason: str) -> None:
    """Serve the release ID again, or the one made before that which is served.

    Every file of it is checked first. It is served until a newer release is made; a running service changes
    over within seconds, and no request fails.
    """
    from ..serve import released, rollback

    place = Place.at(folder)
    with place.yard.ledger.read() as connection:
        was = rollback.served(connection)
        found = id or rollback.before(connection)
    released.load(place.yard, found, context_tokens=place.project.serve.context_tokens)
    with place.yard.ledger.write() as connection:
        rollback.roll_back(connection, found, reason, now_us())
    voice.done(
        {"release": found, "before": was},
        lambda: translate(
            "release {id} is served from now on; before, it was {before}", id=found, before=was
        ),
    )
