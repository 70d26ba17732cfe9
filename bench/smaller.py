"""The full search: models cut out of the tuned one and taught by it compete with it; the image of the winner.

    python bench/smaller.py [--project examples/pydesk] [--image BASE]

Works on a copy of a project whose `modelyard up` has run, and reuses its records. `--image`: builds the
release's image with buildah on BASE (docs/packages.md says how to make one) and weighs it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import results
from results import Figure

from modelyard import machine
from modelyard.cli.place import Place
from modelyard.flow import Walk, line
from modelyard.optimize.settings import Prune
from modelyard.packages.docker import BUILDAH
from modelyard.records.shapes import Record
from modelyard.train.settings import Budget

ROOT = Path(__file__).parent.parent
PRUNED = (Prune(layers=26),)
MINUTES = 20  # that each learns
SEARCHING = ("optimize.", "verify.", "release.")
TAG = "modelyard-bench"
NAME = (
    "cost of the plain 4-bit file to that of the cheapest admissible candidate, pruned and taught among them"
)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--project", type=Path, default=ROOT / "examples" / "pydesk")
    parser.add_argument("--image", metavar="BASE")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        copy = Path(shutil.copytree(told.project.resolve(), Path(place) / "project", symlinks=True))
        figures = image(copy, told.image) if told.image else []
        figures += search(copy)
    results.tell("smaller", figures, whole=bool(told.image))


def search(project: Path) -> list[Figure]:
    """Seconds of the whole search, and how much cheaper than the plain 4-bit file its cheapest is."""
    place = Place.at(project)
    recovery = Budget(minutes=MINUTES)
    update = {"prune": PRUNED, "recovery": recovery}
    searched = place.project.release.search.model_copy(update=update)
    release = place.project.release.model_copy(update={"search": searched})
    told = place.project.model_copy(update={"release": release})
    walk = Walk(place.yard, threads=machine.cores())
    made = walk.follow(line(told, place.folder, place.yard))
    if made is None:
        raise SystemExit("the line stopped before its end")
    records = {done.record.id: done.record for done in walk.done if done.record}
    seconds = sum(record.seconds for record in records.values() if _searches(record))
    rows = made.json("release.json")["candidates"]
    for row in rows:
        print(row["label"], row["fidelity"], _cost(row), row["out"] or "released", row["failed"])
    least = next(row for row in rows if not row["out"])
    four = min((row for row in rows if row["label"].startswith("gguf Q4_0")), key=_cost)
    return [
        Figure(
            "the whole search with pruned and taught models",
            seconds,
            "s",
            at_most=45 * 60,
            why=f"{len(rows)} candidates; {', '.join(one.label for one in PRUNED)}, {MINUTES} minutes each",
        ),
        Figure(
            NAME,
            _cost(four) / _cost(least),
            "ratio",
            above=1.3,
            why=f"{four['label']} ({four['fidelity']}) against {least['label']}",
        ),
    ]


def _searches(record: Record) -> bool:
    """Whether a record belongs to the search: all but the corpus, the index, the base and its tuning."""
    taught = record.step == "train.tune" and "teacher" in record.inputs
    return taught or record.step.startswith(SEARCHING)


def _cost(row: dict[str, dict[str, dict[str, float | None]]]) -> float:
    value = row["facts"]["cost.usd_per_1k_answers"]["value"]
    return float("inf") if value is None else value


def image(project: Path, base: str) -> list[Figure]:
    """Megabytes of the release's image besides the release itself."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "modelyard", "package", out, "--base", base, "--build", TAG]
        subprocess.run([*command, "--project", str(project)], check=True)
        release = sum(file.stat().st_size for file in (Path(out) / "release").rglob("*") if file.is_file())
    listed = subprocess.run(
        [*BUILDAH, "images", "--json", f"localhost/{TAG}"], capture_output=True, text=True, check=True
    )
    (told,) = json.loads(listed.stdout)
    number, unit = str(told["size"]).split()
    whole = float(number) * {"KB": 1e-3, "MB": 1.0, "GB": 1e3}[unit]
    subprocess.run([*BUILDAH, "rmi", f"localhost/{TAG}"], check=True, capture_output=True)
    return [
        Figure(
            "image for serving, besides the release",
            whole - release / 1e6,
            "MB",
            at_most=600,
            why=f"{whole:.0f} MB with {release / 1e6:.0f} MB of release, on {base.rpartition('/')[2]}",
        )
    ]


if __name__ == "__main__":
    main()
