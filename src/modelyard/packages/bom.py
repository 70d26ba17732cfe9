"""What a release is made of, as CycloneDX: model, base, data, engine and the hash of each file."""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Any

from ..errors import need
from ..records.shapes import Record
from ..signing import EXTRA

# Of serial numbers: one for each release's digest.
NAMESPACE = uuid.UUID("5f6f9f1c-3c2a-5d43-9d55-6c1d3c0a7b11")


def write(release: Record, sources: list[dict[str, Any]], packages: dict[str, str]) -> str:
    """The bill as JSON of CycloneDX 1.6. `sources` are those of the corpus, `packages` name -> version."""
    bom, component, lic, output = (
        need(f"cyclonedx.{part}", extra=EXTRA, for_="the bill of materials")
        for part in ("model.bom", "model.component", "contrib.license.factories", "output")
    )
    model, schema = (
        need(f"cyclonedx.{part}", extra=EXTRA, for_="the bill of materials") for part in ("model", "schema")
    )
    kind, licences = component.ComponentType, lic.LicenseFactory()
    told, base = release.json("release.json"), release.json("base.json")

    def properties(values: dict[str, Any]) -> list[Any]:
        return [
            model.Property(name=f"modelyard:{name}", value=str(value))
            for name, value in values.items()
            if value is not None
        ]

    def one(type: Any, name: str, licence: str = "", **more: Any) -> Any:
        found = [licences.make_from_string(licence)] if licence else []
        return component.Component(
            type=type, name=name, bom_ref=f"{type.value}:{name}", licenses=found, **more
        )

    facts = {
        f"fact:{name}": f"{fact['value']} {fact['unit']}"
        for name, fact in told["facts"].items()
        if fact["value"] is not None
    }
    recipe = {f"recipe:{name}": value for name, value in sorted(told["recipe"].items())}
    main = one(
        kind.MACHINE_LEARNING_MODEL,
        told["project"],
        version=release.id,
        properties=properties({"engine": told["engine"], **recipe, **facts}),
    )
    files = [
        one(
            kind.FILE,
            name,
            hashes=[model.HashType(alg=model.HashAlgorithm.SHA_256, content=entry.sha256)],
        )
        for name, entry in sorted(release.files.items())
    ]
    bases = one(
        kind.MACHINE_LEARNING_MODEL,
        str(base["name"]),
        str(base.get("licence") or ""),
        properties=properties({"source": base.get("source"), "revision": base.get("revision")}),
    )
    data = [
        one(
            kind.DATA,
            str(source["path"]),
            str(source.get("licence") or ""),
            properties=properties({name: source.get(name) for name in ("owner", "basis")}),
        )
        for source in sources
    ]
    libraries = [one(kind.LIBRARY, name, version=number) for name, number in sorted(packages.items())]
    made = bom.Bom(
        components=[bases, *data, *libraries, *files], serial_number=uuid.uuid5(NAMESPACE, release.digest)
    )
    made.metadata.component = main
    made.metadata.timestamp = datetime.fromisoformat(release.ended)
    made.register_dependency(main, [bases, *data, *libraries, *files])
    outputter = output.make_outputter(made, schema.OutputFormat.JSON, schema.SchemaVersion.V1_6)
    return (
        json.dumps(json.loads(outputter.output_as_string()), indent=1, ensure_ascii=False, sort_keys=True)
        + "\n"
    )
