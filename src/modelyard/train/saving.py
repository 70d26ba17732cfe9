"""Files that are either whole or absent: written beside their name, flushed to the disk, then renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..errors import NoRoom
from ..records.files import is_full

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose bytes become `path` when the block ends without an error.

    Raises NoRoom when the disk is full; what stood under `path` stands there still.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        if not is_full(error):
            raise
        raise NoRoom(
            f"the disk is full: {path.name} could not be written",
            where=str(path.parent),
            try_="free some space and start again; the work so far is kept",
        ) from None


def write_json(path: Path, value: Any) -> None:
    """`value` as JSON with sorted keys."""
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(path) as stream:
        stream.write(text.encode("utf-8"))


def read_into(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Overwrite each tensor with the one of its name in a safetensors file, whose shapes and types they have.

    Read, not mapped: a map's pages would count as memory beside the tensors.
    """
    import torch

    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        for name, tensor in tensors.items():
            stream.seek(8 + length + header[name]["data_offsets"][0])
            own = tensor.detach() if tensor.device.type == "cpu" else tensor.detach().cpu()
            into = own.view(-1).view(torch.uint8).numpy().data
            if stream.readinto(into) != len(into):
                raise ValueError(f"{name} is cut short")
            if own.device != tensor.device:
                tensor.detach().copy_(own)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """A safetensors file, tensor by tensor, so that no second copy of the model is ever in memory."""
    import torch

    # The format's own names of torch's types, and its own order: by size of item, then by name.
    names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64"}
    names |= {torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8"}
    names |= {torch.uint8: "U8", torch.bool: "BOOL"}
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    at = 0
    for name in order:
        tensor = tensors[name]
        size = tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": names[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [at, at + size],
        }
        at += size
    start = json.dumps(header, separators=(",", ":")).encode("utf-8")
    start += b" " * (-len(start) % 8)  # the data begins at a multiple of 8
    with replacing(path) as stream:
        stream.write(len(start).to_bytes(8, "little"))
        stream.write(start)
        for name in order:
            flat = tensors[name].detach().cpu().contiguous().reshape(-1)
            stream.write(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
