"""Only schemas that an answer can really be held to are passed to an engine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelyard.serve.refusals import Refusal
from modelyard.serve.schema import check

PERSON = {
    "$defs": {"kind": {"enum": ["cat", "dog"]}, "tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
    "type": "object",
    "title": "Person",
    "properties": {
        "name": {"type": "string", "description": "who"},
        "age": {"type": ["integer", "null"]},
        "pet": {"anyOf": [{"$ref": "#/$defs/kind"}, {"type": "null"}]},
        "tree": {"$ref": "#/$defs/tree"},
        "one": {"const": 1},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


def test_a_schema_that_can_be_kept_passes_as_it_is() -> None:
    assert json.loads(check(PERSON, "p")) == PERSON


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        ({"type": "nonsense"}, "p"),
        ({"type": "string", "pattern": "a+"}, "p"),
        ({"type": "object", "properties": {"a": {"minimum": 3, "type": "integer"}}}, "p.properties.a"),
        ({"$ref": "#/nowhere"}, "p"),
        ({"$ref": "#/$defs/a"}, "p"),
        ({"$ref": "http://elsewhere/schema"}, "p"),
        ({}, "p"),
        ([], "p"),
        ({"type": "object", "properties": []}, "p"),
        ({"type": "object", "required": ["a"]}, "p"),
        ({"enum": []}, "p"),
        ({"enum": [{"a": 1}]}, "p"),
        ({"type": "array", "items": {"type": "x"}}, "p.items"),
        ({"type": "array", "items": {"type": "null"}, "minItems": 2, "maxItems": 1}, "p"),
        ({"anyOf": [{"type": "null"}, 7]}, "p.anyOf[1]"),
        ({"type": "object", "additionalProperties": {"type": "null"}}, "p"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "p"),
        (
            {
                "$defs": {
                    "a": {"anyOf": [{"$ref": "#/$defs/b"}, {"type": "null"}]},
                    "b": {"$ref": "#/$defs/a"},
                },
                "$ref": "#/$defs/a",
            },
            "p",
        ),
    ],
)
def test_a_schema_that_an_engine_would_ignore_or_die_of_is_refused_by_place(schema: Any, where: str) -> None:
    with pytest.raises(Refusal) as caught:
        check(schema, "p")
    assert caught.value.param == where


def test_a_schema_nested_too_deep_is_refused() -> None:
    schema: dict[str, Any] = {"type": "null"}
    for _ in range(40):
        schema = {"type": "array", "items": schema}
    with pytest.raises(Refusal, match="nested"):
        check(schema, "p")
