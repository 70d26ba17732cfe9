"""Are these model files whole, and what they say they are? Looked at before anything loads them."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SourceError

HEADER_BYTES_MAX = 100 << 20  # the limit of the safetensors format itself
ITEM_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U8": 8, "BOOL": 8,
}  # fmt: skip
FRESH = "download or copy the file again"


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor of a safetensors file, as its header tells."""

    dtype: str
    shape: tuple[int, ...]


def safetensors_header(path: Path) -> dict[str, Stored]:
    """The tensors of a safetensors file by name, after a check that its size is what the header says.

    Raises SourceError when it is cut short, longer than it should be, or no safetensors file.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= HEADER_BYTES_MAX or length + 8 > size:
            raise SourceError(
                f"{path.name} is no safetensors file, or cut short", where=str(path), try_=FRESH
            )
        header = stream.read(length)
    try:
        entries: dict[str, Any] = json.loads(header)
        entries.pop("__metadata__", None)
        found = {name: _stored(path, name, entry) for name, entry in entries.items()}
        end = 8 + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        raise SourceError(f"{path.name} is no safetensors file", where=str(path), try_=FRESH) from None
    if end != size:
        state = "cut short" if size < end else "longer than its header says"
        raise SourceError(f"{path.name} is {state}: {size} bytes of {end}", where=str(path), try_=FRESH)
    return found


def _stored(path: Path, name: str, entry: Mapping[str, Any]) -> Stored:
    begin, end = entry["data_offsets"]
    stored = Stored(str(entry["dtype"]), tuple(int(side) for side in entry["shape"]))
    bits = ITEM_BITS.get(stored.dtype)
    if bits is None:
        raise SourceError(
            f"{path.name} holds {name} as {stored.dtype}, which cannot be tuned",
            where=str(path),
            try_="weights in float32, float16 or bfloat16",
        )
    if begin < 0 or (end - begin) * 8 != bits * math.prod(stored.shape):
        raise SourceError(f"{path.name} is damaged at {name}", where=str(path), try_=FRESH)
    return stored


def safetensors_files(folder: Path, names: Sequence[str]) -> tuple[Path, ...]:
    """The weight files among `names` in the order of their index, or the single one.

    Raises SourceError when a shard is missing or there is no telling which file is the model.
    """
    index = folder / "model.safetensors.index.json"
    if "model.safetensors" in names:
        return (folder / "model.safetensors",)
    if index.name in names:
        try:
            shards = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError):
            raise SourceError(
                "the index of the shards cannot be read", where=str(index), try_=FRESH
            ) from None
        missing = [shard for shard in shards if shard not in names]
        if missing:
            raise SourceError(
                f"shards are missing: {', '.join(map(str, missing))}", where=str(folder), try_=FRESH
            )
        return tuple(folder / shard for shard in shards)
    single = [name for name in names if name.endswith(".safetensors")]
    if len(single) != 1:
        raise SourceError(
            f"{len(single)} safetensors files and no model.safetensors or index among them",
            where=str(folder),
            try_="name the model's file model.safetensors",
        )
    if single[0].startswith("adapter"):
        raise SourceError(
            "this folder holds an adapter, not a whole model",
            where=str(folder),
            try_="merge it into its base first",
        )
    return (folder / single[0],)


def check_gguf(path: Path) -> Any:
    """The reader of the GGUF file at `path`. Raises SourceError when it is none or is cut short."""
    with path.open("rb") as stream:
        magic = stream.read(4)
    if magic != b"GGUF":
        raise SourceError(f"{path.name} is no GGUF file", where=str(path), try_=FRESH)
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        end = max((int(t.data_offset) + int(t.n_bytes) for t in reader.tensors), default=0)
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError):
        raise SourceError(f"{path.name} is damaged or cut short", where=str(path), try_=FRESH) from None
    if not end or path.stat().st_size < end:
        raise SourceError(
            f"{path.name} is cut short: {path.stat().st_size} bytes of {end}", where=str(path), try_=FRESH
        )
    return reader


def check_fits(tensors: Mapping[str, Stored], expected: Mapping[str, Sequence[int]], where: Path) -> None:
    """Raises SourceError unless `tensors` hold every parameter of the model, in its shape."""
    missing = sorted(set(expected) - set(tensors))
    if missing:
        raise SourceError(
            f"the weights are not those of config.json: {len(missing)} of {len(expected)} tensors are "
            f"missing, such as {missing[0]}",
            where=str(where),
            try_="the config.json that belongs to these weights",
        )
    for name, shape in expected.items():
        if tensors[name].shape != tuple(shape):
            raise SourceError(
                f"{name} has shape {list(tensors[name].shape)}, and config.json asks for {list(shape)}",
                where=str(where),
                try_="the config.json that belongs to these weights",
            )
