"""The release that is served: which one, every file of it checked, and what is read of it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from .. import signing
from ..errors import ProjectError, RecordError
from ..index import Bm25
from ..prompt import Prompter
from ..records.clock import today
from ..records.digest import file_sha256
from ..records.shapes import Record
from ..records.yard import Yard
from .rollback import STEP

SUMS = "SHA256SUMS"
SPARE_TOKENS = 8  # engines count a begin token or a last one differently


@dataclass(frozen=True)
class Released:
    """A release, ready to be served."""

    id: str
    folder: Path
    model: str
    """What clients call it: the project's name."""
    created: int
    """Seconds since 1970 when it was made."""
    engine: str
    threads: int
    lookup: bool
    """Whether the engine proposes words of the prompt."""
    answer_tokens: int
    """Tokens that an answer may have when the client does not say: few, so that little is reserved."""
    context_tokens: int
    prompter: Prompter
    index: Bm25 | None
    passages: int


def load(yard: Yard, id: str, *, context_tokens: int, signed_by: str | None = None) -> Released:
    """The release `id`, every file hashed. `context_tokens` is what the service allows at most.

    Raises RecordError when a file is missing, was changed or put in, or when the holder of the key
    `signed_by` (PEM) has not signed them; ProjectError when `id` is no release.
    """
    found = yard.find(id=id)
    if len(found) != 1 or found[0].step != STEP:
        raise ProjectError(f"{id} is no release", where=str(yard.root), try_="`modelyard up` makes one")
    record = found[0]
    folder = record.folder
    _check(record, folder)
    if signed_by is not None:
        _check_signature(yard, record, folder, signed_by)
    told = json.loads((folder / "release.json").read_text("utf-8"))
    _check_excuses(told, folder)
    prompter = Prompter(folder)
    index = Bm25.load(folder) if told["ground"] else None
    limit = _room(told.get("recipe", {})) or _model_limit(folder)
    return Released(
        id=record.id,
        folder=folder,
        model=told["project"],
        created=int(datetime.fromisoformat(record.ended).timestamp()),
        engine=told["engine"],
        threads=told["threads"],
        lookup=told.get("lookup", False),
        answer_tokens=_answer_tokens(told),
        context_tokens=min(context_tokens, limit or context_tokens),
        prompter=prompter,
        index=index,
        passages=told["ground"]["passages"] if told["ground"] else 0,
    )


def _check(record: Record, folder: Path) -> None:
    """The folder holds the record's files and nothing else, byte for byte; so does its own list of sums."""
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if there != set(record.files):
        raise _tampered(folder, f"{sorted(there ^ set(record.files))[0]} is missing or was put in")
    for name, entry in record.files.items():
        if file_sha256(folder / name) != entry.sha256:
            raise _tampered(folder, f"{name} was changed")
    for line in (folder / SUMS).read_text("utf-8").splitlines():
        sha256, _, name = line.partition("  ")
        if name not in record.files or record.files[name].sha256 != sha256:
            raise _tampered(folder, f"{SUMS} does not agree on {name}")


def _check_excuses(told: dict[str, Any], folder: Path) -> None:
    for name, excuse in told.get("excused", {}).items():
        if date.fromisoformat(excuse["until"]) < today():
            raise RecordError(
                f"the gate on {name} was missed, and what excused it ended on {excuse['until']}",
                where=str(folder),
                try_="`modelyard up`, which holds the gate again; or roll back to a release that kept it",
            )


def _check_signature(yard: Yard, release: Record, folder: Path, public_key: str) -> None:
    """One of the release's signatures is by the key."""
    why = "nobody signed it"
    for record in signing.signatures(yard, release.id):
        why = signing.verify(folder, record.folder / signing.FILE, public_key)
        if not why:
            return
    raise RecordError(
        f"the release {release.id} is not signed by the key of serve.signed_by: {why}",
        where=str(folder),
        try_="`modelyard release sign --key KEY.pem`, or roll back to a release that is",
    )


def _tampered(folder: Path, what: str) -> RecordError:
    return RecordError(
        f"the release is not what was released: {what}",
        where=str(folder),
        try_="`modelyard sweep --damaged` drops it, then `modelyard up` makes it again; or roll back",
    )


def _answer_tokens(told: dict[str, Any]) -> int:
    p99 = told["answer_tokens_p99"]
    most: float = p99 if p99 is not None else told["max_answer_tokens"]
    return max(1, math.ceil(most))


def _room(recipe: dict[str, Any]) -> int | None:
    """The room of a file that has a fixed one, less what engines count differently."""
    room: int | None = recipe.get("room_tokens")
    return None if room is None else room - SPARE_TOKENS


def _model_limit(folder: Path) -> int | None:
    """The longest context that the model was made for, in tokens."""
    try:
        found = json.loads((folder / "config.json").read_text("utf-8")).get("max_position_embeddings")
    except (OSError, ValueError):
        return None
    return found if isinstance(found, int) and found > 0 else None
