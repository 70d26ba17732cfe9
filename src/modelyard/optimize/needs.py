"""Which files cannot be made here, for want of a converter's packages."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from ..errors import MissingPackage

CONVERTERS = {  # by format, distributions; none is imported into our process
    "openvino": ("openvino-genai", "nncf"),
    "onnx": ("onnxruntime-genai", "onnx", "onnx-ir"),
}


def missing(file: str) -> MissingPackage | None:
    """Why a file such as "onnx int4" cannot be made here, and what installs what lacks; None when it can."""
    form = file.partition(" ")[0]
    absent = [package for package in CONVERTERS.get(form, ()) if not _installed(package)]
    if not absent:
        return None
    what = f"converting to {form} needs {', '.join(absent)}"
    return MissingPackage(what, try_=f"pip install 'modelyard[{form},convert]'")


def check(file: str) -> None:
    """Raises MissingPackage where `missing` tells of something."""
    if lacking := missing(file):
        raise lacking


def _installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False
