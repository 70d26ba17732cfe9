"""Which devices of this machine an engine's own library sees; each engine was run on the CPU alone."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable

from .process import QUIET

NO_DEVICES = ("AzureExecutionProvider",)  # ONNX Runtime's list also has a client for a service


def devices(name: str) -> tuple[str, ...]:
    """What an installed engine sees, such as ("CPU", "GPU"); empty where its library does not tell.

    Loads that library, which is told to call nobody; what it raises while it looks counts as silence.
    """
    os.environ |= QUIET
    try:
        return tuple(_ASKED[name]()) if name in _ASKED else ()
    except Exception:  # noqa: BLE001  (a driver that is half there raises anything)
        return ()


def _openvino() -> list[str]:
    return list(importlib.import_module("openvino").Core().available_devices)


def _onnx() -> list[str]:
    providers = importlib.import_module("onnxruntime").get_available_providers()
    found = {one.removesuffix("ExecutionProvider") for one in providers if one not in NO_DEVICES}
    return sorted(found, key=lambda one: (one != "CPU", one))


def _torch() -> list[str]:
    cuda = importlib.import_module("torch").cuda
    return ["CPU", *(cuda.get_device_name(at) for at in range(cuda.device_count()))]


_ASKED: dict[str, Callable[[], list[str]]] = {"openvino": _openvino, "onnx": _onnx, "torch": _torch}
