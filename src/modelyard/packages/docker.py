"""A folder to build a container image from: the release, our package, its engine's runtime, no torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from .. import engines
from ..errors import MissingPackage, ProjectError, SourceError
from ..records.shapes import Record
from ..records.yard import Yard
from ..signing import EXTRA, signatures
from . import bom
from .seed import seed

PACKAGE = Path(__file__).parents[1]
TEMPLATE = Path(__file__).with_name("Dockerfile.jinja")
ENTRY = Path(__file__).with_name("entry.sh")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc")
BUILDAH = ("buildah", "--storage-driver", "vfs")
BUILDERS = {
    # In Docker's format, for that of the OCI has no health check.
    "buildah": [*BUILDAH, "bud", "--isolation", "chroot", "--layers", "--format", "docker"],
    "docker": ["docker", "build"],
}


def write(yard: Yard, release: Record, project_file: Path, to: Path, *, base: str) -> dict[str, str]:
    """Write the folder; returns the packages that the image installs, name -> version.

    Raises ProjectError for a folder that is not empty, or an engine that runs in an environment of its own.
    """
    if to.exists() and any(to.iterdir()):
        raise ProjectError("the folder is not empty", where=str(to), try_="a folder that is not there yet")
    told = release.json("release.json")
    spec = engines.ENGINES[told["engine"]]
    if spec.environment or not spec.packages:
        raise ProjectError(
            f"a release on {spec.name} cannot be put into an image yet",
            try_="release.engines: [openvino, llamacpp]",
        )
    signed = (EXTRA,) if signatures(yard, release.id) else ()
    packages = pinned((spec.extra, *signed))
    to.mkdir(parents=True, exist_ok=True)
    seed(yard, release, project_file, to / "release")
    shutil.copytree(PACKAGE, to / "app" / "modelyard", ignore=LEFT_OUT)
    shutil.copyfile(ENTRY, to / "entry.sh")
    (to / "entry.sh").chmod(0o755)
    (to / "requirements.txt").write_text(
        "".join(f"{name}=={number}\n" for name, number in sorted(packages.items())), "utf-8"
    )
    corpus = [record for id in release.inputs.get("corpus", ()) for record in yard.find(id=id)]
    sources = corpus[0].json("sources.json")["sources"] if corpus else []
    (to / "bom.json").write_text(bom.write(release, sources, packages), "utf-8")
    (to / "Dockerfile").write_text(
        dockerfile(base=base, project=told["project"], release=release.id, libraries=list(spec.libraries)),
        "utf-8",
    )
    for path in (to, *to.rglob("*")):  # anybody may read it; a chmod in the image would store it twice
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    return packages


def dockerfile(*, base: str, project: str, release: str, libraries: list[tuple[str, str]]) -> str:
    """The Dockerfile's text."""
    from jinja2 import Environment, StrictUndefined

    install = [how.rpartition(" ")[2] for _, how in libraries]
    template = Environment(undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    return template.from_string(TEMPLATE.read_text("utf-8")).render(
        base=base, project=json.dumps(project), release=json.dumps(release), install=install
    )


def pinned(extras: tuple[str, ...]) -> dict[str, str]:
    """Every distribution that our package needs with these extras, in the version that is installed here.

    Raises MissingPackage for one that is not installed.
    """
    from packaging.requirements import Requirement

    found: dict[str, str] = {}
    todo = [("modelyard", extras)]
    seen: set[tuple[str, tuple[str, ...]]] = set()
    while todo:
        name, wanted = todo.pop()
        if (name.lower(), wanted) in seen:
            continue
        seen.add((name.lower(), wanted))
        try:
            one = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise MissingPackage(f"{name} is not installed", try_=f"pip install {name}") from None
        if name != "modelyard":
            found[one.metadata["Name"]] = one.version.partition("+")[0]
        for line in one.requires or ():
            need = Requirement(line)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *wanted)):
                todo.append((need.name, tuple(sorted(need.extras))))
    return found


def build(folder: Path, tag: str) -> None:
    """Build the image with buildah or Docker. Raises MissingPackage without, SourceError if it fails."""
    builder = next((name for name in BUILDERS if shutil.which(name)), None)
    if builder is None:
        raise MissingPackage("neither buildah nor docker is installed", try_="apt install buildah")
    done = subprocess.run(
        [*BUILDERS[builder], "-t", tag, str(folder)], stdout=sys.stderr, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        raise SourceError(
            f"{builder} ended with code {done.returncode}",
            where=str(folder / "Dockerfile"),
            try_="what it said above",
        )
