"""Usage events as CloudEvents 1.0, one JSON object a line: how they look, and what a line may not hold."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from .period import to_text, to_us
from .plans import TOKENS

TYPE = "com.modelyard.usage"
KINDS = ("usage", "void", "replace")
LONGEST_LINE = 65_536  # bytes; an event of ours has about 500
LONGEST_TEXT = 256
MOST = 10**9  # tokens or microseconds beyond which nobody means it; an operator may still admit them
_INT64 = 2**63 - 1
_COUNTS = ("input_tokens", "cached_tokens", "output_tokens", "duration_us", "quantity")
_DATA = {*_COUNTS, "meter", "release", "finish", "kind", "refers_to", "plan_version"}
_ATTRIBUTES = ("specversion", "type", "source", "id", "time", "subject", "datacontenttype")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


@dataclass(frozen=True, slots=True)
class Incoming:
    """An event of another system, well formed. The names are those of the ledger's columns."""

    source: str
    event_id: str
    customer_id: str
    occurred_us: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    duration_us: int
    quantity: int
    meter: str
    release_id: str | None
    finish: str | None
    kind: str
    refers_to: str | None

    @property
    def doubt(self) -> str | None:
        """Why a well-formed event is still hard to believe; None when it is not."""
        for name in _COUNTS:
            if getattr(self, name) > MOST:
                return f"{name} is absurd: more than {MOST}"
        return None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line that is no event of ours. `event_id` stands for the line where it gives no usable id."""

    source: str
    event_id: str
    body: str
    """What it said of the fields that we know, as JSON; never other fields, which may hold anything."""
    why: str


class _Wrong(Exception):
    pass


def line(event: Incoming, plan_version: str | None = None) -> str:
    """An event as a line without its line end. The version of the price is told, never taken back in."""
    data: dict[str, Any] = {name: getattr(event, name) for name in _COUNTS}
    data |= {"meter": event.meter, "kind": event.kind}
    for name, value in (
        ("release", event.release_id),
        ("finish", event.finish),
        ("refers_to", event.refers_to),
        ("plan_version", plan_version),
    ):
        if value is not None:
            data[name] = value
    whole = {
        "specversion": "1.0",
        "type": TYPE,
        "source": event.source,
        "id": event.event_id,
        "time": to_text(event.occurred_us),
        "subject": event.customer_id,
        "datacontenttype": "application/json",
        "data": data,
    }
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":"))


def parse(raw: bytes) -> Incoming | Unreadable:
    """A line as an event, or why it is none."""
    mark = "line:" + hashlib.sha256(raw).hexdigest()[:32]
    told: dict[str, Any] = {}
    try:
        told = _object(raw)
        return _event(told)
    except _Wrong as wrong:
        source, id = told.get("source"), told.get("id")
        known = _text_problem(source) is None and _text_problem(id) is None
        body = _known(told) if told else {"line": mark, "bytes": len(raw)}
        return Unreadable(
            str(source) if known else "",
            str(id) if known else mark,
            json.dumps(body, sort_keys=True, separators=(",", ":")),
            str(wrong),
        )


def _object(raw: bytes) -> dict[str, Any]:
    if len(raw) > LONGEST_LINE:
        raise _Wrong(f"the line is longer than {LONGEST_LINE} bytes")
    try:
        told = json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise _Wrong("the line is not UTF-8") from None
    except (ValueError, RecursionError):
        raise _Wrong("the line is not JSON") from None
    if not isinstance(told, dict):
        raise _Wrong("the line is no JSON object")
    return told


def _event(told: dict[str, Any]) -> Incoming:
    if told.get("specversion") != "1.0":
        raise _Wrong('specversion is not "1.0"')
    if told.get("type") != TYPE:
        raise _Wrong(f"type is not {TYPE}")
    if told.get("datacontenttype", "application/json") != "application/json":
        raise _Wrong("datacontenttype is not application/json")
    source, id, customer = _text(told, "source"), _text(told, "id"), _text(told, "subject")
    occurred_us = _time(told.get("time"))
    data = told.get("data")
    if not isinstance(data, dict):
        raise _Wrong("data is no object")
    if strange := sorted(set(data) - _DATA):
        raise _Wrong(f"data has a field that is not known: {strange[0][:64]!a}")
    kind = data.get("kind", "usage")
    if kind not in KINDS:
        raise _Wrong(f"kind is none of {', '.join(KINDS)}")
    refers_to = None
    if kind == "usage" and data.get("refers_to") is not None:
        raise _Wrong("refers_to belongs to a void or a replacement")
    if kind != "usage":
        refers_to = _text(data, "refers_to")
        if refers_to == id:
            raise _Wrong("refers_to is the event itself")
    needed = ("input_tokens", "output_tokens") if kind != "void" else ()
    counts = {name: _count(data, name, name in needed) for name in _COUNTS}
    if counts["cached_tokens"] > counts["input_tokens"]:
        raise _Wrong("cached_tokens is more than input_tokens, which it is a part of")
    meter = data.get("meter", TOKENS)
    if meter != TOKENS:
        raise _Wrong(f"meter is not {TOKENS}")
    return Incoming(
        source=source,
        event_id=id,
        customer_id=customer,
        occurred_us=occurred_us,
        meter=TOKENS,
        release_id=_text(data, "release") if data.get("release") is not None else None,
        finish=_text(data, "finish") if data.get("finish") is not None else None,
        kind=kind,
        refers_to=refers_to,
        **counts,
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Wrong("a field stands twice")
    return found


def _no_constant(_: str) -> NoReturn:
    raise _Wrong("NaN and Infinity are no JSON")


def _text(told: dict[str, Any], name: str) -> str:
    value = told.get(name)
    if problem := _text_problem(value):
        raise _Wrong(f"{name} {problem}")
    return str(value)


def _text_problem(value: Any) -> str | None:
    if not isinstance(value, str) or not value:
        return "is missing or no text"
    if len(value) > LONGEST_TEXT:
        return f"is longer than {LONGEST_TEXT} characters"
    # Control characters and halves of surrogate pairs: no database stores all of them.
    if any(c < " " or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in value):
        return "holds a character that is not text"
    return None


def _time(value: Any) -> int:
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise _Wrong("time is no RFC 3339 time with a zone")
    try:
        at_us = to_us(datetime.fromisoformat(value.upper()))
    except (ValueError, OverflowError):
        raise _Wrong("time is no time of any calendar") from None
    if not 0 <= at_us < 253_000_000_000_000_000:  # 1970 to 9987: what months are counted in
        raise _Wrong("time is outside the years 1970 to 9986")
    return at_us


def _count(data: dict[str, Any], name: str, needed: bool) -> int:
    value = data.get(name)
    if value is None and not needed:
        return 0
    if type(value) is not int:  # True is an int to Python, not to JSON
        raise _Wrong(f"{name} is missing or no whole number")
    if value < 0:
        raise _Wrong(f"{name} is negative")
    if value > _INT64:
        raise _Wrong(f"{name} is absurd: it does not fit 64 bits")
    return value


def _known(told: dict[str, Any]) -> dict[str, Any]:
    """The fields of ours that hold a short text or a number; what else a line holds is nobody's business."""
    data = told.get("data")
    found = {name: told[name] for name in _ATTRIBUTES if _small(told.get(name))}
    if isinstance(data, dict):
        found["data"] = {name: data[name] for name in sorted(_DATA) if _small(data.get(name))}
    return found


def _small(value: Any) -> bool:
    if isinstance(value, str):
        return _text_problem(value) is None
    return type(value) in (int, bool) and abs(value) < 10**30
