"""`package`: a release as something to run elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from .place import Place
from .served import found
from .table import size
from .voice import Voice, translate, verb

BASE = "docker.io/library/python:3.11-slim-bookworm"


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--to", "kind", type=click.Choice(["docker"]), default="docker", show_default=True, help="What to make."
)
@click.option("--release", "id", help="The release; that which is served unless given.")
@click.option(
    "--base", default=BASE, show_default=True, help="Image to build on; it has Python 3.11 or newer."
)
@click.option("--build", "tag", help="Build the image, with buildah or docker, under this tag.")
@verb("package")
def package(
    voice: Voice, folder: Path, out: Path, kind: str, id: str | None, base: str, tag: str | None
) -> None:
    """Write the folder OUT: Dockerfile, the release, its engine's runtime pinned, a bill of materials.

    The image is non-root, runs with a read-only root, and holds no key, no customer and no torch.
    """
    from ..packages import docker

    place = Place.at(folder)
    release = found(place, id)
    packages = docker.write(place.yard, release, place.file, out.absolute(), base=base)
    if tag:
        docker.build(out.absolute(), tag)
    written = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    voice.done(
        {
            "folder": str(out.absolute()),
            "release": release.id,
            "packages": packages,
            "tag": tag,
            "bytes": written,
        },
        lambda: translate(
            "{folder} holds release {id} and {n} pinned packages, {bytes}",
            folder=out,
            id=release.id,
            n=len(packages),
            bytes=size(written),
        ),
    )
