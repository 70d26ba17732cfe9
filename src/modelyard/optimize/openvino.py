"""A model as OpenVINO's own format: a graph, and a file of weights in eight or four bits.

GenAI reads the unquantised GGUF file and saves it as a graph, nncf rounds the matrices. Both are done by a
process of its own (`openvino_export`): neither library is loaded into ours, and what ends it fails this file.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..errors import EngineError, SourceError
from . import child, needs


def write(kind: str, model: Path, folder: Path, gguf: Callable[[Path], object]) -> None:
    """Write the graph into `folder`; `gguf` writes the model's unquantised file at a path.

    Raises SourceError for a model that OpenVINO cannot take.
    """
    needs.check("openvino")
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        file = Path(place) / "model.gguf"
        gguf(file)
        folder.mkdir()
        try:
            child.run("modelyard.optimize.openvino_export", [str(file), str(model), str(folder), kind])
        except EngineError as error:
            shutil.rmtree(folder)
            raise SourceError(
                f"OpenVINO cannot take the model: {error.what}", where=str(model), try_="a GGUF file"
            ) from None
