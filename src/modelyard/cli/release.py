"""`release`: choose again from the verdicts that stand, or serve an earlier release again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from .. import signing
from ..errors import ModelyardError, ProjectError
from ..flow import Node, Stale, Walk, line
from ..flow.node import Line
from ..optimize.settings import CONVERT
from ..records.clock import now_us
from ..records.shapes import Record
from ..release.settings import CHOOSE, SIGN, SignSettings
from ..verify.settings import LOOKUP, MEASURE, PROBE, RACE, REFERENCE
from .place import Place
from .progress import watcher
from .served import found
from .table import table
from .up import result_of
from .verdicts import candidates_table
from .voice import Voice, translate, verb


@click.group()
def release() -> None:
    """Choose the release again, sign it, take one in, or serve an earlier one."""


@release.command("choose")
@verb("release choose")
def choose(voice: Voice, folder: Path) -> None:
    """Hold the verdicts against the gates of the project file; measures finalists, tunes nothing."""
    place = Place.at(folder)
    watch = watcher(voice, lambda: "")

    def measures_or_chooses(node: Node) -> bool:
        return node.step.name in (
            CONVERT.name,
            REFERENCE.name,
            MEASURE.name,
            PROBE.name,
            RACE.name,
            LOOKUP.name,
            CHOOSE.name,
        )

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
    from ..serve import rollback

    place = Place.at(folder)
    with place.yard.ledger.read() as connection:
        was = rollback.served(connection)
        earlier = id or rollback.before(connection)
    put_back = found(place, earlier).id
    with place.yard.ledger.write() as connection:
        rollback.roll_back(connection, put_back, reason, now_us())
    voice.done(
        {"release": put_back, "before": was},
        lambda: translate(
            "release {id} is served from now on; before, it was {before}", id=put_back, before=was
        ),
    )


@release.command("sign")
@click.argument("id", required=False)
@click.option(
    "--key",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Private key of an elliptic curve, in PEM; it stays where it is.",
)
@click.option("--password-env", help="Environment variable with the key's password.")
@verb("release sign")
def sign(voice: Voice, folder: Path, id: str | None, key: Path, password_env: str | None) -> None:
    """Sign the release ID, or that which is served; `serve.signed_by` demands it."""
    from ..flow.sources import fingerprint

    place = Place.at(folder)
    record = place.yard.one(id) if id else found(place, None, signed=False)
    settings = SignSettings(password_env=password_env)
    source = fingerprint(place.yard, "key", key.absolute())
    node = Node(SIGN, settings, {"release": (record,)}, sources=(source,))

    def alone() -> Line[Record]:
        (made,) = yield (node,)
        return made

    made = Walk(place.yard, threads=place.threads, verb="release sign").follow(alone())
    assert made is not None
    voice.done(
        {"release": record.id, "signature": str(made.folder / signing.FILE)},
        lambda: translate("release {id} is signed: {path}", id=record.id, path=made.folder / signing.FILE),
    )


@release.command("add")
@click.argument("start", metavar="FROM", type=click.Path(path_type=Path))
@verb("release add")
def add(voice: Voice, folder: Path, start: Path) -> None:
    """Take the release of a package's folder FROM into this yard; it is served from now on."""
    from ..packages import seed
    from ..serve import rollback

    place = Place.at(folder)
    with place.yard.ledger.read() as connection:
        was = rollback.served(connection)
    record = seed.add(start.absolute(), place.yard)
    with place.yard.ledger.write() as connection:
        if rollback.served(connection) != record.id:
            rollback.roll_back(connection, record.id, "added", now_us())
    voice.done(
        {"release": record.id, "before": was},
        lambda: translate("release {id} is served from now on", id=record.id),
    )


@release.command("diff")
@click.argument("a")
@click.argument("b", required=False)
@verb("release diff")
def diff(voice: Voice, folder: Path, a: str, b: str | None) -> None:
    """What changed from the release A to B, or to that which is served."""
    from ..release.differences import differences

    place = Place.at(folder)
    first, second = place.yard.one(a), found(place, b, signed=False)
    rows = differences(first, second)
    voice.done(
        {"from": first.id, "to": second.id, "differences": [asdict(row) for row in rows]},
        lambda: (
            table(
                ["what", first.id, second.id, "apart"],
                [[row.what, row.before, row.after, translate(row.apart)] for row in rows],
            )
            if rows
            else translate("the two releases are the same")
        ),
    )
