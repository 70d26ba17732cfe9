"""Which files cannot be made here, for want of a converter's packages."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

CONVERTERS = {"openvino": ("nncf",), "onnx": ("onnx", "onnx-ir")}  # by format, distributions


def missing(file: str) -> str | None:
    """Why a file such as "onnx int4" cannot be made here, with the line that installs what lacks."""
    form = file.partition(" ")[0]
    absent = [package for package in CONVERTERS.get(form, ()) if not _installed(package)]
    if not absent:
        return None
    return f"converting to {form} needs {', '.join(absent)}: pip install 'modelyard[convert]'"


def _installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False
