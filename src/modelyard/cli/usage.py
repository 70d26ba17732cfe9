"""`usage`: what a customer used; and usage events out, in, and set aside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import click

from ..bill import export as outgoing
from ..bill import quarantine as aside
from ..bill import report
from ..bill.cloudevents import LONGEST_LINE
from ..bill.intake import Taken, take
from ..bill.period import to_text
from ..errors import ProjectError
from ..records.clock import now_us
from ..records.files import enough_room
from .invoice import moment
from .place import Place
from .table import table
from .voice import Voice, translate, verb


@click.group(invoke_without_command=True)
@click.option("--customer", help="Whose use.")
@click.option("--period", help="The month, such as 2026-11; all of it when absent.")
@click.option("--cutoff", help="As it was known at this time (ISO 8601); now when absent.")
@click.option(
    "--most",
    type=click.IntRange(0),
    default=report.MOST_EVENTS,
    show_default=True,
    help="Requests told one by one.",
)
@verb("usage")
def usage(
    voice: Voice, folder: Path, customer: str | None, period: str | None, cutoff: str | None, most: int
) -> None:
    """Show what a customer used, each request with its list price and what is charged for it."""
    context = click.get_current_context()
    if context.invoked_subcommand is not None:
        given = click.core.ParameterSource.COMMANDLINE
        if any(context.get_parameter_source(name) is given for name in context.params if name != "lang"):
            raise click.UsageError(f"options go after `usage {context.invoked_subcommand}`")
        return
    if customer is None:
        raise click.UsageError("whose use? --customer NAME, or one of: export, import, quarantine")
    told = report.usage(Place.at(folder).yard.ledger.read, customer, period, moment(cutoff), most=most)
    voice.done(told, lambda: _page(told))


@usage.command("export")
@click.option("--customer", help="Only this customer's events.")
@click.option("--to", type=click.Path(path_type=Path, dir_okay=False), help="Write to this new file.")
@verb("usage export")
def export(voice: Voice, folder: Path, customer: str | None, to: Path | None) -> None:
    """Write usage events as CloudEvents 1.0, one JSON object a line, to stdout or to a file."""
    lines = outgoing.lines(Place.at(folder).yard.ledger.read, customer)
    if to is None:
        if voice.json:
            raise click.UsageError("--json needs --to FILE, since the lines themselves are the result")
        for text in lines:
            click.echo(text)
        return
    if to.exists():
        raise ProjectError("the file exists already", where=str(to), try_="another name")
    count, part = 0, to.with_name(f".{to.name}.part")
    try:
        with enough_room(to.parent), part.open("w", encoding="utf-8") as stream:
            for text in lines:
                stream.write(text + "\n")
                count += 1
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(to)
    except OSError as error:
        raise ProjectError(f"the file cannot be written: {error.strerror}", where=str(to)) from None
    finally:
        part.unlink(missing_ok=True)
    voice.done(
        {"events": count, "file": str(to)}, translate("{n} events written to {file}", n=count, file=to)
    )


@usage.command("import")
@click.argument("file", type=click.File("rb"))
@verb("usage import")
def import_(voice: Voice, folder: Path, file: IO[bytes]) -> None:
    """Take usage events from FILE (- for stdin): CloudEvents 1.0, one JSON object a line.

    Each event counts once, however often it is imported. An id that comes again with another body is refused
    as a conflict; an event that is too old, in the future, absurd or of nobody is set aside with the reason.
    """
    place = Place.at(folder)
    taken = take(place.yard.ledger.write, _lines(file), told=_Story(voice))
    result = asdict(taken)
    if taken.conflicts:
        voice.warn(
            translate("{n} events were refused: their ids are taken by other events", n=taken.conflicts)
        )
    if taken.quarantined:
        voice.warn(
            translate("{n} events are set aside: `modelyard usage quarantine list`", n=taken.quarantined)
        )
    voice.done(
        result,
        translate(
            "{accepted} read: {counted} counted, {duplicates} known already, {conflicts} in conflict, "
            "{quarantined} set aside",
            **result,
        ),
    )


@usage.group("quarantine")
def quarantine() -> None:
    """Decide on imported events that could not be counted."""


@quarantine.command("list")
@click.option("--decided", is_flag=True, help="Those with a decision.")
@verb("usage quarantine list")
def list_(voice: Voice, folder: Path, decided: bool) -> None:
    """List events that wait for a decision."""
    with Place.at(folder).yard.ledger.read() as connection:
        found = aside.listed(connection, decided=decided)
    rows = [
        [str(one.seq), one.source, one.event_id, to_text(one.at_us)[:16], one.why, one.decision or ""]
        for one in found
    ]
    voice.done(
        {"events": [{**asdict(one), "at": to_text(one.at_us)} for one in found]},
        lambda: (
            table(["number", "source", "event", "came", "why", "decision"], rows)
            if rows
            else translate("no event is set aside")
        ),
    )


@quarantine.command("admit")
@click.argument("number", type=int)
@click.option("--reason", required=True, help="Why it counts.")
@verb("usage quarantine admit")
def admit(voice: Voice, folder: Path, number: int, reason: str) -> None:
    """Count the event NUMBER after all."""
    with Place.at(folder).yard.ledger.write() as connection:
        aside.admit(connection, number, reason, now_us())
    voice.done({"number": number, "decision": "admitted"}, translate("event {n} counts", n=number))


@quarantine.command("reject")
@click.argument("number", type=int)
@click.option("--reason", required=True, help="Why it does not count.")
@verb("usage quarantine reject")
def reject(voice: Voice, folder: Path, number: int, reason: str) -> None:
    """Never count the event NUMBER."""
    with Place.at(folder).yard.ledger.write() as connection:
        aside.reject(connection, number, reason, now_us())
    voice.done({"number": number, "decision": "rejected"}, translate("event {n} will not count", n=number))


class _Story:
    """A line to whoever watches, at most every two seconds."""

    def __init__(self, voice: Voice) -> None:
        self.voice = voice
        self.began_us = self.last_us = now_us()

    def __call__(self, taken: Taken) -> None:
        now = now_us()
        if now - self.last_us < 2_000_000:
            return
        self.last_us = now
        rate = taken.accepted * 1_000_000 // max(now - self.began_us, 1)
        self.voice.story(translate("{n} events read, {rate} a second", n=taken.accepted, rate=rate))


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file; of a line that is too long for an event only its first part is kept."""
    first = True
    while raw := file.readline(LONGEST_LINE + 2):
        if first:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
            if raw.lstrip()[:1] == b"[":
                raise ProjectError(
                    "this is a JSON array, not one event a line", try_="jq -c '.[]' FILE, then import that"
                )
            first = False
        yield raw
        while not raw.endswith(b"\n") and (raw := file.readline(LONGEST_LINE)):
            pass


def _page(told: dict[str, Any]) -> str:
    rows = [
        [
            one["at"][:19],
            one["id"],
            f"{one['tokens']['input']:,}",
            f"{one['tokens']['cached']:,}",
            f"{one['tokens']['output']:,}",
            one["list"],
            one["charged"],
            one["price_version"],
            one["release"] or "-",
        ]
        for one in told["events"]
    ]
    head = ["at", "request", "input", "cached", "output", "list", "charged", "version", "release"]
    parts = [table(head, rows)] if rows else []
    if told["events_left_out"]:
        parts.append(
            translate("{n} older requests are not shown; --most shows more", n=told["events_left_out"])
        )
    parts.append(
        translate(
            "{customer}: {requests} requests, {input_tokens} tokens read, {output_tokens} written; "
            "money in {currency}",
            **{
                name: told[name]
                for name in ("customer", "requests", "input_tokens", "output_tokens", "currency")
            },
        )
    )
    return "\n\n".join(parts)
