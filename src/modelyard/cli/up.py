"""`up`: everything that is missing or stale, from documents to release."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..errors import ModelyardError, ProjectError, Refused
from ..flow import STEPS, Done, Walk, forecast, left_out, line, skipped
from ..records.clock import today
from ..records.files import write_whole
from ..release import ended
from ..train.parallel import team
from .place import Place
from .progress import watcher
from .table import duration, table
from .verdicts import candidates_table
from .voice import Voice, spoken, translate, verb


@click.command()
@click.option("--to", metavar="STEP", help="Stop after this step.")
@click.option("--again", metavar="STEP", help="Make this step's records once more; all attempts are kept.")
@verb("up")
def up(voice: Voice, folder: Path, to: str | None, again: str | None) -> None:
    """Make all that is missing or stale, from documents to release."""
    for name in (to, again):
        if name is not None and name not in STEPS:
            raise ProjectError(f"there is no step {name!r}", try_=f"one of {', '.join(STEPS)}")
    place = Place.at(folder)
    for name in (to, again):
        if name in left_out(place.project):
            raise ProjectError(
                f"this project has no step {name}",
                where=str(place.file),
                try_=f"{left_out(place.project)[name]} in the project file",
            )
    if team.started():
        team.check_world(place.project.train.parallel, team.world())
        with team.team() as first:
            if first:
                _up(voice, place, to, again)
    else:
        _up(voice, place, to, again)


def _up(voice: Voice, place: Place, to: str | None, again: str | None) -> None:
    for lacking in skipped(place.project):
        voice.warn(translate("left out: {what}; {how}", what=spoken(lacking.what), how=lacking.try_))
    for gate, excuse in ended(place.project.release.gates, today()).items():
        told = "the exception for {gate} ended on {until}: {by} no longer answers for it"
        voice.warn(translate(told, gate=gate, until=str(excuse.until), by=excuse.by))
    watch = watcher(voice, lambda: _plan(place))
    walk = Walk(place.yard, threads=place.threads, watcher=watch, to=to, again=again)
    try:
        release = walk.follow(line(place.project, place.folder, place.yard))
    except ModelyardError as error:
        error.result = result_of(walk.done, None)
        if isinstance(error, Refused) and error.picture:
            path = place.yard.root / "refused.svg"
            write_whole(path, error.picture.encode())
            voice.warn(translate("picture: {path}", path=path))
        raise
    finally:
        watch.close()
    ran = [done for done in walk.done if done.state == "ran"]

    def text() -> str:
        if not ran:
            head = translate("nothing to do: {n} steps kept", n=len(walk.done))
        else:
            total = duration(sum(done.seconds for done in ran))
            head = translate(
                "{n} steps ran in {total}, {kept} kept",
                n=len(ran),
                total=total,
                kept=len(walk.done) - len(ran),
            )
        if release is None:
            return head
        return f"{candidates_table(release)}\n\n{head}\n" + translate(
            "release {id}; ask it with: modelyard try QUESTION", id=release.id
        )

    voice.done(result_of(walk.done, release.id if release else None), text)


def _plan(place: Place) -> str:
    """What the steps of this project are expected to take, told before the first one runs."""
    parts = forecast(place.project, place.yard)
    rows = [[name, "?" if seconds is None else duration(seconds), source] for name, seconds, source in parts]
    total = duration(sum(seconds or 0.0 for _, seconds, _ in parts))
    return table(["step", "expected", "from"], rows) + "\n" + translate("about {total} in all", total=total)


def result_of(done: Sequence[Done], release: str | None) -> dict[str, Any]:
    """What a walk did, in the form of `up --json`."""
    steps = [
        {
            "step": d.node.step.name,
            "label": d.node.label,
            "record": d.record.id if d.record else None,
            "state": d.state,
            "seconds": round(d.seconds, 3),
        }
        for d in done
    ]
    return {"steps": steps, "release": release}
