"""The tensors of a safetensors folder, one at a time, without torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SourceError

PICKLES = (".bin", ".pt", ".pth", ".ckpt")
Array = np.ndarray[Any, np.dtype[Any]]

HEADER_BYTES_LIMIT = 100_000_000  # the format's own limit (safetensors' README, "Format")
DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "F64": np.dtype("<f8"),
}


class Weights(Mapping[str, Array]):
    """Names to float32 arrays, read from disk when asked for.

    Raises SourceError for a folder without safetensors, a damaged file, or numbers that are not finite.
    """

    def __init__(self, folder: Path) -> None:
        self._where: dict[str, tuple[Path, np.dtype[Any], tuple[int, ...], int]] = {}
        self._bf16: set[str] = set()
        for path in _files(folder):
            self._add(path)

    def _add(self, path: Path) -> None:
        header, start = _header(path)
        room = path.stat().st_size - start
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            try:
                kind, shape = entry["dtype"], tuple(int(n) for n in entry["shape"])
                begin, end = (int(n) for n in entry["data_offsets"])
            except (TypeError, KeyError, ValueError):
                raise _damaged(path, f"the entry of {name} cannot be read") from None
            if kind not in DTYPES:
                raise SourceError(
                    f"the tensor {name} is of type {kind}",
                    where=str(path),
                    try_="weights in F32, F16 or BF16; quantised weights cannot be converted again",
                )
            size = DTYPES[kind].itemsize * int(np.prod(shape, dtype=np.int64))
            if begin < 0 or end - begin != size or end > room:
                raise _damaged(path, f"{name} needs {size} bytes that are not there")
            if kind == "BF16":
                self._bf16.add(name)
            self._where[name] = (path, DTYPES[kind], shape, start + begin)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        return self._where[name][2]

    def __getitem__(self, name: str) -> Array:
        path, dtype, shape, offset = self._where[name]
        count = int(np.prod(shape, dtype=np.int64))
        raw = np.fromfile(path, dtype=dtype, count=count, offset=offset)
        if name in self._bf16:  # bf16 is the upper half of a float32
            value = (raw.astype(np.uint32) << 16).view(np.float32)
        else:
            value = raw.astype(np.float32, copy=False)
        if not np.isfinite(value).all():
            raise SourceError(
                f"the tensor {name} holds numbers that are not finite",
                where=str(path),
                try_="an earlier checkpoint, or a lower learning rate",
            )
        return value.reshape(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)


def _files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError):
            raise _damaged(index, "the list of shards cannot be read") from None
        if any(Path(name).name != name for name in names):
            raise _damaged(index, "a shard lies outside the folder")
    else:
        names = ["model.safetensors"]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        if pickles:
            raise SourceError(
                f"the weights are pickled ({pickles[0]}), and a pickle can run code",
                where=str(folder),
                try_="the same model as safetensors",
            )
        raise SourceError(
            f"there is no {missing[0]}", where=str(folder), try_="a folder with safetensors weights"
        )
    return [folder / name for name in names]


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file, and where its data begin."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(HEADER_BYTES_LIMIT, path.stat().st_size - 8):
            raise _damaged(path, "it is truncated, or not a safetensors file")
        try:
            header = json.loads(stream.read(length))
        except ValueError:
            raise _damaged(path, "its header cannot be read") from None
    if not isinstance(header, dict):
        raise _damaged(path, "its header cannot be read")
    return header, 8 + length


def _damaged(path: Path, why: str) -> SourceError:
    return SourceError(
        f"the weights are damaged: {why}", where=str(path), try_="copy or download the model again"
    )
