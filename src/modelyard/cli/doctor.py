"""`doctor`: what this machine can do, what is missing, and how to get it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import click

from .. import engines, environments, machine
from ..engines.devices import devices
from ..errors import MissingPackage, ProjectError, SourceError
from ..optimize.needs import missing
from ..project import schema as project_schema
from ..train.locate import locate
from .place import Place
from .table import table
from .voice import Voice, spoken, translate, verb

DISK_GIB = 4.0  # pydesk's yard with all its candidates and checkpoints
MEMORY_GIB = 6.0  # its peak, with room for the rest of the machine


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at."""

    name: str
    state: Literal["ok", "warn", "missing"]
    found: str
    try_: str = ""


@click.command()
@click.option("--schema", is_flag=True, help="Print the JSON schema of the project file.")
@click.option("--install", metavar="NAME", help="Make the environment of its own that litert or vllm needs.")
@verb("doctor")
def doctor(voice: Voice, folder: Path, schema: bool, install: str | None) -> None:
    """Tell what this machine can do, what is missing, and how to get it."""
    if schema:
        voice.done(project_schema(), lambda: json.dumps(project_schema(), indent=2, ensure_ascii=False))
        return
    if install:
        _install(voice, folder, install)
        return
    project = _project(folder)  # first: it knows where the project's environments lie
    checks = [*_machine(folder), *_packages(), *_engines(), *project]
    rows = [
        [translate(check.state), spoken(check.name), spoken(check.found), spoken(check.try_)]
        for check in checks
    ]
    voice.done(
        {"checks": [asdict(c) for c in checks]}, lambda: table(["state", "what", "found", "try"], rows)
    )


def _install(voice: Voice, folder: Path, name: str) -> None:
    from ..environments.install import install

    if environments.VARIABLE not in os.environ:
        Place.at(folder)  # an environment lies in a project's yard
    one = environments.one(name)
    voice.story(
        translate(
            "{name}: {gib} GiB, some {minutes} minutes, into {folder}",
            name=name,
            gib=one.gib,
            minutes=one.minutes,
            folder=one.folder,
        )
    )
    fresh = install(one, voice.story)
    voice.done(
        {"environment": name, "installed": fresh, "folder": str(one.folder)},
        lambda: (
            translate("{name} is installed", name=name)
            if fresh
            else translate("{name} was installed already", name=name)
        ),
    )


def _machine(folder: Path) -> list[Check]:
    here = machine.this()
    disk, memory = machine.disk_free_gib(folder), machine.memory_available_gib()
    checks = [
        Check("python", "ok", sys.version.split()[0]),
        Check(
            "machine",
            "ok",
            f"{here.cpu}, {here.cores} cores, {here.memory_gib} GiB, {here.kind} (id {here.id})",
        ),
        Check("gpu", "ok", ", ".join(here.gpus) or "none: everything runs on the CPU"),
        _enough("disk", disk, DISK_GIB, "free some space"),
        _enough("memory", memory, MEMORY_GIB, "end other programs, or take a smaller base model"),
    ]
    try:
        roof = machine.roof()
    except MissingPackage:
        return checks
    gemm = f"fp32 {roof.gemm_fp32:.0f} GFLOP/s, bf16 {roof.gemm_bf16:.0f} GFLOP/s"
    found = f"{gemm}, memory {roof.memory_read:.0f} GB/s"
    return [*checks, Check("roof", "ok", found)]


def _enough(name: str, free: float, wanted: float, try_: str) -> Check:
    if free >= wanted:
        return Check(name, "ok", f"{free:.1f} GiB free")
    return Check(name, "warn", f"{free:.1f} GiB free, {wanted:g} are needed", try_)


def _packages() -> list[Check]:
    try:
        found = version("torch")
    except PackageNotFoundError:
        return [
            Check("torch", "missing", "training and conversion need it", "pip install 'modelyard[train]'")
        ]
    if "+cu" in found and not machine.this().gpus:
        advice = "pip install --index-url URL-OF-PYTORCH'S-CPU-WHEELS torch: it saves some 5 GB"
        return [Check("torch", "warn", f"{found}: a CUDA build on a machine without a GPU", advice)]
    return [Check("torch", "ok", found)]


def _engines() -> list[Check]:
    checks = []
    for name in engines.ENGINES:
        lacking = engines.missing(name)
        if lacking:
            checks.append(Check(f"engine {name}", "missing", lacking.what, lacking.try_))
        else:
            found = ", ".join(f"{package} {number}" for package, number in engines.versions(name).items())
            checks.append(Check(f"engine {name}", "ok", found))
            checks += _devices(name)
    for file in ("openvino", "onnx"):
        if lacking := missing(file):
            checks.append(Check(f"converting to {file}", "missing", lacking.what, lacking.try_))
    return checks


def _devices(name: str) -> list[Check]:
    """Only what Modelyard has run counts as fit: every engine runs on the CPU."""
    return [
        Check(f"{name} on {device}", "ok", "it runs here")
        if device == "CPU"
        else Check(f"{name} on {device}", "warn", "untested: Modelyard runs this engine on the CPU")
        for device in devices(name)
    ]


def _project(folder: Path) -> list[Check]:
    try:
        place = Place.at(folder)
    except ProjectError:
        return [Check("project", "warn", "no modelyard.yaml here", "modelyard init")]
    try:
        project = place.project
    except ProjectError as error:
        return [Check("project", "missing", error.what, error.try_)]
    checks = [Check("project", "ok", str(place.file))]
    for source in project.data.sources:
        if not (place.folder / source.path).exists():
            checks.append(Check("source", "missing", source.path, source.made_by or "check the path"))
        variable = source.answers and source.answers.key_env
        if variable and not os.environ.get(variable):
            checks.append(Check("key", "missing", f"{variable} is not set", f"export {variable}=…"))
    try:
        base = locate(project.train.base, place.folder)
        checks.append(Check("base", "ok", f"{base.name} ({base.licence or 'licence unknown'})"))
    except SourceError as error:
        checks.append(Check("base", "missing", error.what, error.try_))
    return checks
