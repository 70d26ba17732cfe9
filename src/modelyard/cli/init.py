"""`init`: a commented project file that runs, from what the user has."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from ..data import licences
from ..data.settings import Source
from ..errors import ProjectError, SourceError
from ..project import FILE, load
from ..records.files import write_whole
from .voice import Voice, translate, verb

BASES = ("licence", "contract", "consent", "own", "public_domain", "legitimate_interest")


@click.command()
@click.option("--documents", type=click.Path(path_type=Path), help="File or folder of documents.")
@click.option(
    "--pairs", type=click.Path(path_type=Path), help="JSONL file or folder of question-answer pairs."
)
@click.option("--licence", help="SPDX identifier of their licence, such as CC-BY-4.0.")
@click.option("--owner", help="Who holds the rights.")
@click.option("--basis", type=click.Choice(BASES), help="Why you may use them.")
@click.option("--name", help="Name of the project; the folder's when absent.")
@verb("init")
def init(
    voice: Voice,
    folder: Path,
    documents: Path | None,
    pairs: Path | None,
    licence: str | None,
    owner: str | None,
    basis: str | None,
    name: str | None,
) -> None:
    """Write modelyard.yaml for your documents, your pairs, or both."""
    target = folder / FILE
    if target.exists():
        raise ProjectError(f"{FILE} is there already", where=str(target), try_="edit it, or remove it first")
    asks = sys.stdin.isatty() and not voice.json
    if documents is None and pairs is None and asks:
        documents = _ask_path("Folder with documents (empty for none)")
        pairs = _ask_path("File with question-answer pairs (empty for none)")
    if documents is None and pairs is None:
        raise ProjectError(
            "neither documents nor pairs were named",
            try_="modelyard init --documents FOLDER --licence SPDX --owner NAME --basis BASIS",
        )
    if asks:
        licence = licence or click.prompt(translate("Licence (SPDX, such as CC-BY-4.0)"), err=True)
        owner = owner or click.prompt(translate("Owner of the rights"), err=True)
        basis = basis or click.prompt(translate("Basis"), type=click.Choice(BASES), err=True)
    missing = [f"--{n}" for n, v in (("licence", licence), ("owner", owner), ("basis", basis)) if not v]
    if missing:
        raise ProjectError(
            f"{' and '.join(missing)} must be given: every source needs a licence, an owner and a basis",
            try_="--licence CC-BY-4.0 --owner 'Example Ltd' --basis licence",
        )
    for path in (documents, pairs):
        if path is not None and not path.exists():
            raise ProjectError(f"{path} does not exist", try_="check the path")
    paths = [_relative(path, folder) for path in (documents, pairs) if path is not None]
    sources = [Source(path=p, licence=licence or "", owner=owner or "", basis=basis) for p in paths]  # type: ignore[arg-type]
    try:
        for source in sources:
            licences.check(source)
    except SourceError as error:
        raise ProjectError(error.what, where="--licence, --owner", try_=error.try_) from None
    text = _file(name or _name(folder), sources, grounded=documents is not None, tuned=pairs is not None)
    write_whole(target, text.encode())
    try:
        load(target)
    except ProjectError:
        target.unlink()  # nothing stays that would stand in the way of the next attempt
        raise
    result = {"file": str(target), "documents": documents is not None, "pairs": pairs is not None}
    voice.done(result, translate("wrote {file}; next: modelyard up", file=_relative(target, Path.cwd())))


def _ask_path(question: str) -> Path | None:
    answer = click.prompt(translate(question), default="", show_default=False, err=True)
    return Path(answer) if answer else None


def _relative(path: Path, folder: Path) -> str:
    """`path` as seen from `folder`, when it lies below it."""
    whole = path.absolute()
    return str(whole.relative_to(folder)) if whole.is_relative_to(folder) else str(whole)


def _name(folder: Path) -> str:
    plain = re.sub(r"[^a-z0-9._-]+", "-", folder.name.lower()).strip("-._")
    return plain[:64] or "project"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _file(name: str, sources: list[Source], *, grounded: bool, tuned: bool) -> str:
    lines = [
        "# A Modelyard project: `modelyard up` makes everything that this file asks for.",
        "version: 1",
        f"name: {_quoted(name)}                # also the id of the served model",
        "",
    ]
    if tuned:
        lines += [
            "task:",
            "  kind: extract              # the answer is a span of the passage, or NOT STATED",
            "  hold_out: {by: document, select: 0.1, report: 0.2}   # pairs that tuning never sees, by group",
            "",
        ]
    lines += ["data:", "  sources:                   # every source with licence (SPDX), owner and basis"]
    for source in sources:
        lines += [
            f"    - path: {_quoted(source.path)}",
            f"      licence: {_quoted(source.licence)}",
            f"      owner: {_quoted(source.owner)}",
            f"      basis: {source.basis}",
        ]
    lines.append("")
    if grounded:
        lines += [
            "ground: {passages: 1}        # answer from the documents, with a citation or NOT STATED",
            "",
        ]
    lines += [
        "train:",
        "  base: smollm2-135m-instruct   # a known name, a folder of safetensors, or a hub id",
    ]
    if tuned:
        lines += [
            "  method: {lora: {rank: 16}}",
            "  budget: {minutes: 6}       # longer tunes better",
        ]
    else:
        lines.append("  method: null               # nothing to tune on; add question-answer pairs to tune")
    lines += [
        "",
        "release:",
        "  gates:                     # what a release must hold; a failed one blocks it",
    ]
    if tuned:
        lines.append("    quality.task: {max_loss: 0.05}       # against the unquantised model")
    lines += [
        "    latency.ttft_p95_s.c1: {max: 5}      # seconds to the first token",
        "  mix: {callers: 8, input_tokens: 250, output_tokens: 30}   # the load that cost is measured at",
        "",
        "machine: {}                  # add usd_per_hour: what this machine costs you; assumed until then",
        "",
    ]
    return "\n".join(lines)
