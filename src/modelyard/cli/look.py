"""`status`, `show` and `why`: looking at what stands. They only read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import ProjectError, SourceError, need
from ..flow import NOUNS, Stale, Walk, line, measured_otherwise
from ..records.runs import Run, unfinished
from ..records.shapes import Record, fact_json
from .place import Place
from .standing import standing
from .table import duration, facts, measured, size, table
from .trials import trials_table
from .voice import Voice, translate, verb


@click.command()
@verb("status")
def status(voice: Voice, folder: Path) -> None:
    """Show what is kept, what is stale, and who runs."""
    place = Place.at(folder)
    walk = Walk(place.yard, threads=place.threads, may_run=lambda node: False)
    blocked: SourceError | None = None
    made: Record | None = None
    try:
        made = walk.follow(line(place.project, place.folder, place.yard))
    except Stale:
        pass
    except SourceError as error:
        blocked = error
    runs = unfinished(place.yard.ledger) if place.yard.exists else []
    newest = next(iter(place.yard.find(step="release.choose")), None)
    release = made or newest
    whys = {
        d.node.key: measured_otherwise(d.node, place.yard) if d.state == "stale" else "" for d in walk.done
    }
    steps = [
        {
            "step": d.node.step.name,
            "label": d.node.label,
            "state": d.state,
            "record": d.record.id if d.record else None,
            "why": whys[d.node.key],
        }
        for d in walk.done
    ]
    result = {
        "steps": steps,
        "runs": [
            {"step": r.step, "pid": r.pid, "host": r.host, "since": r.started, "alive": r.alive} for r in runs
        ],
        "release": release.id if release else None,
        "release_stands": made is not None,
        "blocked": blocked.what if blocked else None,
    }

    def text() -> str:
        rows = [
            [
                d.node.name,
                translate(d.state),
                d.record.id if d.record else "-",
                duration(d.record.seconds) if d.record else "",
                d.record.ended[:16] if d.record else whys[d.node.key],
            ]
            for d in walk.done
        ]
        parts = [table(["step", "state", "record", "took", "made"], rows)] if rows else []
        for r in runs:
            parts.append(_run(r))
        if blocked:
            parts.append(translate("cannot go on: {what}", what=str(blocked)))
        if release is None:
            parts.append(translate("no release yet; next: modelyard up"))
        elif made is None:
            parts.append(translate("release: {id}, made before the last change", id=release.id))
        else:
            parts.append(translate("release: {id}", id=release.id))
        return "\n".join(parts)

    voice.done(result, text)


@click.command()
@click.argument("noun")
@click.argument("id", required=False)
@verb("show")
def show(voice: Voice, folder: Path, noun: str, id: str | None) -> None:
    """Show records of a NOUN, or the one with ID.

    Nouns: answers, corpus, index, base, model, search, candidate, reference, verdict, probe, race,
    release. `cases`: published companies and runs, by a name or a part of it.
    """
    if noun == "cases":
        need("numpy", extra="plan", for_="planning")
        from .cases import cases  # it needs that

        cases(voice, id)
        return
    found = _find(Place.at(folder), noun, id, voice)
    if id is None and len(found) > 1:
        rows = [[r.id, _label(r), r.ended[:16], _headline(r)] for r in found]
        voice.done(
            {"records": [_object(r) for r in found]}, lambda: table(["record", "what", "made", "facts"], rows)
        )
        return
    record = found[0]
    voice.done(_object(record), lambda: _page(record))


@click.command()
@click.argument("noun")
@click.argument("id", required=False)
@verb("why")
def why(voice: Voice, folder: Path, noun: str, id: str | None) -> None:
    """Say why a record is as it is: what was chosen and the reason, what it was made from and where.

    `why slow` says which part of the service takes the time.
    """
    place = Place.at(folder)
    if noun == "slow":
        from .slow import why_slow

        why_slow(voice, place)
        return
    record = _find(place, noun, id, voice)[0]
    result = {
        "record": record.id,
        "step": record.step,
        "choices": [{"name": c.name, "value": c.value, "why": c.why} for c in record.choices],
        "inputs": {role: list(ids) for role, ids in record.inputs.items()},
        "settings": record.settings,
        "environment": record.environment,
    }

    def text() -> str:
        made_on = record.environment.get("machine", {})
        parts = [translate("{step} {id}", step=record.step, id=record.id)]
        if record.choices:
            parts.append(
                table(["choice", "value", "why"], [[c.name, c.value, c.why] for c in record.choices])
            )
        else:
            parts.append(translate("nothing was chosen automatically"))
        inputs = [[role, id, _label(place.yard.one(id))] for role, ids in record.inputs.items() for id in ids]
        if inputs:
            parts.append(table(["made from", "record", "what"], inputs))
        parts.append(
            translate(
                "made {ended} in {took} on {cpu}, {cores} cores (machine {machine})",
                ended=record.ended,
                took=duration(record.seconds),
                cpu=made_on.get("cpu", "?"),
                cores=made_on.get("cores", "?"),
                machine=made_on.get("id", "?"),
            )
        )
        return "\n\n".join(parts)

    voice.done(result, text)


def _run(run: Run) -> str:
    if run.alive:
        said = translate(
            "{step} is run by process {pid} on {host} since {since}",
            step=run.step,
            pid=run.pid,
            host=run.host,
            since=run.started,
        )
    else:
        said = translate(
            "{step} was killed (process {pid}); `modelyard up` goes on from its last checkpoint",
            step=run.step,
            pid=run.pid,
        )
    return said


PICTURES = ("loss.svg", "search.svg")
SINGLE = ("corpus", "index", "base", "model", "search", "race", "release")  # of which a project has one


def _find(place: Place, noun: str, id: str | None, voice: Voice) -> list[Record]:
    if noun not in NOUNS:
        raise ProjectError(f"there is no noun {noun!r}", try_=f"one of {', '.join(NOUNS)}")
    if id is None and noun in SINGLE:
        record, changed = standing(place, NOUNS[noun])
        if changed:
            voice.warn(changed)
        return [record]
    found = place.yard.find(step=NOUNS[noun], id=id)
    if not found:
        wanted = f" with an id that begins with {id}" if id else ""
        raise ProjectError(f"there is no {noun}{wanted} yet", where=str(place.yard.root), try_="modelyard up")
    return found


def _object(record: Record) -> dict[str, Any]:
    return {
        "record": record.id,
        "step": record.step,
        "digest": record.digest,
        "made": record.ended,
        "seconds": record.seconds,
        "facts": fact_json(record.facts),
        "files": {name: entry.size for name, entry in record.files.items()},
        "picture": str(drawn) if (drawn := _picture(record)) else None,
        "settings": record.settings,
    }


def _picture(record: Record) -> Path | None:
    return next((record.folder / name for name in PICTURES if name in record.files), None)


def _page(record: Record) -> str:
    parts = [
        f"{record.step} {record.id}  {_label(record)}".rstrip(),
        translate("digest {digest}", digest=record.digest),
    ]
    if record.facts:
        parts.append(facts(dict(record.facts)))
    parts.append(table(["file", "size"], [[name, size(entry.size)] for name, entry in record.files.items()]))
    if record.step == NOUNS["search"]:
        parts.append(trials_table(record))
    if drawn := _picture(record):
        parts.append(translate("picture: {path}", path=drawn))
    return "\n\n".join(parts)


def _label(record: Record) -> str:
    told = record.settings
    names = ("path", "base", "file", "engine", "fidelity")
    return " ".join(str(told[name]) for name in names if told.get(name))


def _headline(record: Record) -> str:
    from .progress import TELLING

    return "  ".join(
        f"{name} {measured(record.facts[name])}"
        for name in TELLING.get(record.step, ())
        if name in record.facts
    )
