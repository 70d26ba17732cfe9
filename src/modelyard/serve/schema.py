"""Which JSON schemas an answer can be held to: the subset that both engines' grammars keep.

An engine that meets a schema that it does not know either ignores it in silence (llama.cpp) or ends
(OpenVINO), so everything is checked here first, and refused by name.
"""

from __future__ import annotations

import json
from typing import Any

from .refusals import invalid

TYPES = {"object", "array", "string", "integer", "number", "boolean", "null"}
DEEPEST = 10
LARGEST = 500  # nested schemas; OpenAI's own limit on properties is of that size
WORDS = {"title", "description", "default", "$schema", "examples"}  # say something, constrain nothing
KNOWN = WORDS | {
    "$defs",
    "$ref",
    "additionalProperties",
    "anyOf",
    "const",
    "enum",
    "items",
    "maxItems",
    "minItems",
    "properties",
    "required",
    "type",
}


def check(schema: Any, param: str) -> str:
    """The schema as text for an engine. Raises Refusal naming what it cannot be held to."""
    if not isinstance(schema, dict):
        raise invalid("a schema is a JSON object", param)
    _Walk(schema, param).look(schema, param, 0)
    _no_circle(schema, param)
    return json.dumps(schema, ensure_ascii=False)


class _Walk:
    def __init__(self, root: dict[str, Any], param: str) -> None:
        self.root = root
        self.param = param
        self.seen = 0

    def look(self, schema: Any, at: str, depth: int) -> None:
        if not isinstance(schema, dict):
            raise invalid("a schema is a JSON object", at)
        self.seen += 1
        if depth > DEEPEST or self.seen > LARGEST:
            raise invalid(f"the schema is nested over {DEEPEST} deep or has over {LARGEST} parts", self.param)
        unknown = sorted(set(schema) - KNOWN)
        if unknown:
            raise invalid(f"the schema's keyword {unknown[0]!r} is not supported", at)
        if "$ref" in schema:
            self.follow(schema, at, depth)
            return
        self.kind(schema, at)
        for name, inner in _mapping(schema, "$defs", at).items():
            if depth:
                raise invalid("$defs stand at the top of a schema", at)
            self.look(inner, f"{at}.$defs.{name}", depth + 1)
        properties = _mapping(schema, "properties", at)
        for name, inner in properties.items():
            self.look(inner, f"{at}.properties.{name}", depth + 1)
        required = schema.get("required", [])
        if not isinstance(required, list) or any(name not in properties for name in required):
            raise invalid("required lists names of properties", at)
        if not isinstance(schema.get("additionalProperties", False), bool):
            raise invalid("additionalProperties is true or false", at)
        if "items" in schema:
            self.look(schema["items"], f"{at}.items", depth + 1)
        for place, inner in enumerate(_list(schema, "anyOf", at)):
            self.look(inner, f"{at}.anyOf[{place}]", depth + 1)

    def kind(self, schema: dict[str, Any], at: str) -> None:
        kinds = schema.get("type", [])
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if any(not isinstance(kind, str) or kind not in TYPES for kind in kinds):
            raise invalid(f"type is one of {', '.join(sorted(TYPES))}", at)
        if not kinds and not {"enum", "const", "anyOf"} & set(schema):
            raise invalid("a schema has a type, an enum, a const, anyOf or a $ref", at)
        for value in (*_list(schema, "enum", at), *([schema["const"]] if "const" in schema else [])):
            if isinstance(value, dict | list):
                raise invalid("enum and const hold plain values", at)
        for name in ("minItems", "maxItems"):
            count = schema.get(name, 0)
            if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= 1000:
                raise invalid(f"{name} is a whole number from 0 to 1000", at)
        if schema.get("minItems", 0) > schema.get("maxItems", 1000):
            raise invalid("minItems is above maxItems", at)

    def follow(self, schema: dict[str, Any], at: str, depth: int) -> None:
        target = schema["$ref"]
        if set(schema) - WORDS - {"$ref", "$defs"}:
            raise invalid("nothing else stands beside a $ref", at)
        if not isinstance(target, str) or not target.startswith("#/$defs/"):
            raise invalid("a $ref begins with #/$defs/", at)
        name = target.removeprefix("#/$defs/")
        if name not in _mapping(self.root, "$defs", self.param):
            raise invalid("a $ref leads nowhere", at)
        if not depth and "$defs" in schema:
            for inner_name, inner in _mapping(schema, "$defs", at).items():
                self.look(inner, f"{at}.$defs.{inner_name}", 1)


def _no_circle(root: dict[str, Any], param: str) -> None:
    """Refuse definitions that lead back to themselves without a property or an item in between."""
    defs = root.get("$defs", {})
    done: set[str] = set()

    def direct(schema: dict[str, Any]) -> list[str]:
        inner = [name for one in schema.get("anyOf", ()) for name in direct(one)]
        return inner + ([schema["$ref"].removeprefix("#/$defs/")] if "$ref" in schema else [])

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise invalid(f"the definition {name!r} leads only to itself", param)
        if name not in done:
            for other in direct(defs[name]):
                visit(other, (*above, name))
            done.add(name)

    for name in defs:
        visit(name, ())


def _mapping(schema: dict[str, Any], name: str, at: str) -> dict[str, Any]:
    found = schema.get(name, {})
    if not isinstance(found, dict):
        raise invalid(f"{name} is a JSON object", at)
    return found


def _list(schema: dict[str, Any], name: str, at: str) -> list[Any]:
    found = schema.get(name, [])
    if not isinstance(found, list) or (name in schema and not found):
        raise invalid(f"{name} is a list that is not empty", at)
    return found
