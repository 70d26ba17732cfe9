"""A script for another environment's interpreter: it runs a module of ours there, and nothing else of ours.

`python -I inside.py modelyard.engines.worker …`. The package is found beside this file, wherever it lies:
its folder is not put on the path, for the packages around it belong to another environment.
"""

import importlib.util
import runpy
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run the module that the first argument names with the others."""
    spec = importlib.util.spec_from_file_location(
        PACKAGE.name, PACKAGE / "__init__.py", submodule_search_locations=[str(PACKAGE)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE.name] = package
    spec.loader.exec_module(package)
    sys.path = [place for place in sys.path if Path(place).resolve() != PACKAGE / "environments"]
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
