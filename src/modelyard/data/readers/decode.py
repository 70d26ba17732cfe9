"""Bytes to text: gzip, byte order marks, declared and detected character sets."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from pathlib import Path

from ..items import Drop

MOST_BYTES = 256 << 20  # of one file once unpacked; a text so long is data, or an archive made to fill memory

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 64 << 10  # bytes that the detection looks at; it takes a second per megabyte
_MOST_MESS = 0.1  # share of implausible characters from which a detected charset is a guess


def content(path: Path) -> bytes:
    """A file's bytes, unpacked when its name ends in .gz. Raises Drop when broken or too large."""
    if path.name.lower().endswith(".gz"):
        try:
            with gzip.open(path) as stream:
                data = stream.read(MOST_BYTES + 1)
        except (gzip.BadGzipFile, EOFError, zlib.error):
            raise Drop("broken_gzip") from None
    else:
        with path.open("rb") as plain:
            data = plain.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise Drop("too_large", f"more than {MOST_BYTES >> 20} MiB")
    return data


def decode(data: bytes, declared: str = "") -> str:
    """`data` as text: by its byte order mark, as UTF-8, as `declared`, else as a charset detected in it.

    Raises Drop when it is binary or no charset fits with confidence.
    """
    for mark, charset in _MARKS:
        if data.startswith(mark):
            return _strict(data.removeprefix(codecs.BOM_UTF8), charset) or _refuse(f"not {charset}")
    if b"\0" in data[:_SAMPLE]:
        raise Drop("binary", "holds NUL bytes")
    if (text := _strict(data, "utf-8")) is not None:
        return text
    if declared and (text := _strict(data, declared)) is not None:
        return text
    from charset_normalizer import from_bytes

    best = from_bytes(data[:_SAMPLE]).best()
    if best is None or best.chaos > _MOST_MESS or (text := _strict(data, best.encoding)) is None:
        raise Drop("bad_encoding", "not UTF-8, and no other charset fits")
    return text


def lines(path: Path) -> io.BufferedIOBase:
    """A file of lines opened for reading in binary, unpacked when its name ends in .gz."""
    if path.name.lower().endswith(".gz"):
        return gzip.open(path)
    return path.open("rb")


def _strict(data: bytes, charset: str) -> str | None:
    try:
        return data.decode(charset)
    except (UnicodeDecodeError, LookupError):
        return None


def _refuse(detail: str) -> str:
    raise Drop("bad_encoding", detail)
