"""Why a measurement no longer stands: the machine or a package that it was made with is another now."""

from __future__ import annotations

from ..records.yard import Yard
from .node import Node


def measured_otherwise(node: Node, yard: Yard) -> str:
    """What changed since it was last asked, such as "xllamacpp 2026.10 -> 2026.11"; "" for anything else."""
    inputs = {role: tuple(record.id for record in records) for role, records in node.inputs.items()}
    settings = node.settings.model_dump(mode="json")
    for record in yard.find(step=node.step.name):
        if dict(record.settings) == settings and {r: ids for r, ids in inputs.items() if ids} == dict(
            record.inputs
        ):
            before = record.environment.get("measured_with", {})
            now = node.measured_with
            changed = [
                name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)
            ]
            return ", ".join(f"{name} {before.get(name, '-')} -> {now.get(name, '-')}" for name in changed)
    return ""
