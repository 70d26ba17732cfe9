"""`serve`: answer over HTTP, as OpenAI's service does."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import click

from .place import Place
from .voice import Voice, translate, verb

LOOPBACK = ("localhost", "ip6-localhost")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 takes a free one.",
)
@verb("serve")
def serve(voice: Voice, folder: Path, host: str, port: int) -> None:
    """Serve the release to clients of OpenAI's API until Ctrl-C or SIGTERM."""
    from ..serve import command

    place = Place.at(folder)
    settings = place.project.serve
    if not _loopback(host):
        voice.warn(
            translate(
                "{host} can be reached from outside, and this service speaks no TLS: put a proxy that does "
                "before it",
                host=host,
            )
        )
    _compare_prices(voice, place)

    def story(text: str, /, **values: object) -> None:
        voice.story(translate(text, **values))

    command.serve(place.yard, settings, host=host, port=port, story=story)
    voice.done({"stopped": True}, translate("the service has stopped"))


def _loopback(host: str) -> bool:
    if host in LOOPBACK:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _compare_prices(voice: Voice, place: Place) -> None:
    """Say by which versions is charged, and warn where the file says something else."""
    from ..bill.prices import differs

    prices = place.project.prices
    if prices is None:
        voice.warn(translate("the project file has no prices; customers with a plan are charged by it"))
        return
    with place.yard.ledger.read() as connection:
        plans = differs(connection, prices)
    if plans:
        voice.warn(
            translate(
                "the prices of {plans} in the project file are not those that are charged: "
                "`modelyard prices publish`",
                plans=", ".join(plans),
            )
        )
