"""Writes docs/project-file.md and docs/openapi.json from the code: `python docs/reference.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from modelyard.project import schema
from modelyard.records.facts import FACTS
from modelyard.serve.openapi import document

TARGET = Path(__file__).parent / "project-file.md"
OPENAPI = Path(__file__).parent / "openapi.json"

HEAD = """# The project file, setting by setting

Made from the code by `python docs/reference.py`; a test compares the two.
`modelyard doctor --schema` prints the same as a JSON schema for editors.
"""


def openapi() -> str:
    """The service's OpenAPI document."""
    return json.dumps(document(), indent=1) + "\n"


def page() -> str:
    """The whole page."""
    whole = schema()
    parts = [HEAD, "## The file", _table(whole, whole)]
    for name, block in whole["$defs"].items():
        if block.get("properties"):
            parts += [f"## {name}", block.get("description", ""), _table(block, whole)]
    rows = ["| fact | unit | meaning |", "|---|---|---|", *(_fact(name) for name in sorted(FACTS))]
    parts += ["## Facts that a gate may name", "\n".join(rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _fact(name: str) -> str:
    return f"| `{name}` | {FACTS[name].unit} | {FACTS[name].text} |"


def _table(block: dict[str, Any], whole: dict[str, Any]) -> str:
    rows = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for name, field in block["properties"].items():
        needed = name in block.get("required", ())
        default = "needed" if needed else f"`{_short(field.get('default'))}`"
        meaning = (field.get("description") or _named(field, whole).get("description", "")).replace("\n", " ")
        rows.append(f"| `{name}` | {_type(field)} | {default} | {meaning} |")
    return "\n".join(rows)


def _named(field: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = whole["$defs"].get(field.get("$ref", "").rpartition("/")[2], {})
    return found


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in field or "const" in field:
        return " / ".join(str(value) for value in field.get("enum", [field.get("const")]))
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_type(option) for option in field["anyOf"]))
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    if field.get("type") == "object" and isinstance(field.get("additionalProperties"), dict):
        return f"mapping to {_type(field['additionalProperties'])}"
    return str(field.get("type", "any"))


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "see there"
    return "null" if value is None else str(value).replace("True", "true").replace("False", "false")


if __name__ == "__main__":
    TARGET.write_text(page(), "utf-8")
    OPENAPI.write_text(openapi(), "utf-8")
