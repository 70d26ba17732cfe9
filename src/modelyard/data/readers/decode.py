"""Bytes to text: gzip, byte order marks, declared and detected character sets."""

from __future__ import annotations

import codecs
import gzip
import io
import re
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
# Where charset_normalizer's first guess can be trusted. Of eighteen short texts tried (nine languages in
# their usual charsets) its wrong ones had a mess of 0.046, no coherence, or as much as another reading.
# It knows no coherence of Japanese, which kana show. A document left out is seen, a garbled one is not.
_MOST_MESS, _LEAST_COHERENCE, _LEAST_LEAD = 0.03, 0.1, 0.02
_KANA = re.compile("[\u3041-\u30ff]")


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
            text = _strict(data.removeprefix(codecs.BOM_UTF8), charset)
            return _refuse(f"not {charset}") if text is None else text
    if b"\0" in data[:_SAMPLE]:
        raise Drop("binary", "holds NUL bytes")
    if (plain := _strict(data, "utf-8")) is not None:
        return plain
    if declared and (said := _strict(data, declared)) is not None:
        return said
    return _strict(data, _detected(data[:_SAMPLE])) or _refuse("not UTF-8, and no one other charset fits")


def _detected(sample: bytes) -> str:
    """The charset that alone makes sense of `sample`, or ""."""
    from charset_normalizer import from_bytes

    likely = [match for match in from_bytes(sample) if match.chaos <= _MOST_MESS]
    if not likely:
        return ""
    best, *others = likely
    others = [other for other in others if str(other) != str(best)]
    lead = best.coherence - max((other.coherence for other in others), default=0.0)
    makes_sense = best.coherence >= _LEAST_COHERENCE and lead >= _LEAST_LEAD
    return best.encoding if makes_sense or _KANA.search(str(best)) else ""


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
