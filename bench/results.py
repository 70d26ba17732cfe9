"""Figures as rows: bench/results/NAME.json by each script, and bench/RESULTS.md made of them all.

A row is kept per figure and kind of machine: a run on one kind leaves the rows of the others. `met` is null,
with `why`, where there is no goal, or where this machine could not measure the figure.
`python bench/results.py` makes RESULTS.md anew.
"""

from __future__ import annotations

import json
import math
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from modelyard import __version__, machine
from modelyard.intervals import student
from modelyard.records.files import write_whole

FOLDER = Path(__file__).parent
PACKAGES = ("torch", "transformers", "peft", "openvino-genai", "xllamacpp")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured number beside its goal. `ours` None means unmeasured, and `why` says why.

    `low` and `high` bound `ours` at 95%; a goal is held against the unfavourable bound. `ratio` is ours to
    the peer's.
    """

    figure: str
    ours: float | None
    unit: str
    peer: float | None = None
    low: float | None = None
    high: float | None = None
    at_most: float | None = None
    above: float | None = None
    why: str = ""

    def __post_init__(self) -> None:
        if self.ours is None and not self.why:
            raise ValueError(f"{self.figure}: an unmeasured figure must say why")
        if any(not math.isfinite(n) for n in (self.ours, self.peer, self.low, self.high) if n is not None):
            raise ValueError(f"{self.figure}: a figure is finite")

    @property
    def met(self) -> bool | None:
        """Whether the goal is kept; None without a goal or a measurement."""
        if self.ours is None:
            return None
        if self.at_most is not None:
            return (self.ours if self.high is None else self.high) <= self.at_most
        if self.above is not None:
            return (self.ours if self.low is None else self.low) > self.above
        return None

    def row(self) -> Row:
        """The figure as a row, before it is said where and when it was measured."""
        goal = f"at most {self.at_most:g}" if self.at_most is not None else None
        goal = f"above {self.above:g}" if self.above is not None else goal
        body = asdict(self)
        del body["at_most"], body["above"]
        ratio = self.ours / self.peer if self.ours is not None and self.peer else None
        why = self.why or ("" if goal else "no goal is set for it")
        return body | {"ratio": ratio, "goal": goal, "met": self.met, "why": why}


def of_turns(ratios: Sequence[float]) -> tuple[float, float, float]:
    """Mean of the ratios of alternating turns, and Student's interval at 95% around it."""
    half = student(len(ratios)) * statistics.stdev(ratios) / len(ratios) ** 0.5
    middle = statistics.mean(ratios)
    return middle, middle - half, middle + half


def tell(name: str, figures: Sequence[Figure], *, whole: bool) -> None:
    """Print a script's figures, and keep them; `whole`: all of its parts ran."""
    for figure in figures:
        print(json.dumps(figure.row() | {"unit": figure.unit}, ensure_ascii=False))
    write(name, figures, whole=whole)


def write(
    name: str,
    figures: Sequence[Figure],
    *,
    folder: Path = FOLDER,
    kind: str | None = None,
    whole: bool = True,
) -> None:
    """Put a run's figures into results/NAME.json of `folder`, then make RESULTS.md anew.

    `kind`: of the machine, where its processor does not decide it. Of a run that is not `whole`, the figures
    that it does not name stay.
    """
    path = folder / "results" / f"{name}.json"
    old: list[Row] = json.loads(path.read_text("utf-8")) if path.exists() else []
    rows = merge(old, [figure.row() | origin(kind) for figure in figures], whole=whole)
    text = json.dumps(rows, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False)
    write_whole(path, text.encode() + b"\n")
    write_whole(folder / "RESULTS.md", markdown(folder / "results").encode())


def merge(old: Sequence[Row], new: Sequence[Row], *, whole: bool = True) -> list[Row]:
    """The rows of a script after a run: this kind of machine's are new, the others' stay.

    Figures that a whole run no longer names are gone. A row without a measurement does not replace a measured
    one of the same kind of machine: its date and commit say how old that is. The script's order, then kinds.
    """
    named = [row["figure"] for row in (new if whole else [*old, *new])]
    order = {name: at for at, name in enumerate(dict.fromkeys(named))}
    kept = {(row["figure"], row["machine"]["kind"]): row for row in old if row["figure"] in order}
    for row in new:
        at = row["figure"], row["machine"]["kind"]
        if row["ours"] is not None or kept.get(at, row)["ours"] is None:
            kept[at] = row
    return sorted(kept.values(), key=lambda row: (order[row["figure"]], row["machine"]["kind"]))


def origin(kind: str | None = None) -> Row:
    """Where and when a row was measured."""
    here = machine.this()
    versions = {"modelyard": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "machine": {
            "kind": kind or here.kind,
            "cpu": here.cpu,
            "cores": here.cores,
            "memory_gib": here.memory_gib,
        },
        "versions": versions,
        "commit": _commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _commit() -> str | None:
    """The commit that was measured, with a plus where the tree held changes beside it."""
    try:
        said = ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
        return subprocess.run(said, cwd=FOLDER, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def markdown(results: Path) -> str:
    """RESULTS.md: a table for each script and kind of machine."""
    parts = [
        "# Measured",
        "Made by the scripts in `bench/` from `bench/results/*.json`; do not edit. An interval is at 95%, "
        "and a goal is held against its unfavourable bound. A dash is a figure that was not measured.",
    ]
    for path in sorted(results.glob("*.json")):
        rows: list[Row] = json.loads(path.read_text("utf-8"))
        parts.append(f"## bench/{path.stem}.py")
        for kind in sorted({row["machine"]["kind"] for row in rows}):
            mine = [row for row in rows if row["machine"]["kind"] == kind]
            about = {_about(row) for row in mine}
            parts += [f"### {kind}", "; ".join(sorted(about)), _table(mine)]
    return "\n\n".join(parts) + "\n"


def _about(row: Row) -> str:
    where = row["machine"]
    when = f"{row['date']}, commit {row['commit'] or 'unknown'}"
    return f"{where['cpu']}, {where['cores']} cores, {where['memory_gib']} GiB ({when})"


def _table(rows: Sequence[Row]) -> str:
    lines = ["| figure | ours | peer | ratio | goal | met | why |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.3g}"
        met = {True: "yes", False: "**no**", None: ""}[row["met"]]
        peer = "" if row["peer"] is None else number(row["peer"])
        cells = [row["figure"], measured(row), peer, ratio, row["goal"] or "", met, row["why"]]
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines)


def measured(row: Mapping[str, Any]) -> str:
    """Our number with its interval and unit, such as `0.842 [0.801, 0.880] share`."""
    if row["ours"] is None:
        return "–"
    bounds = "" if row["low"] is None else f" [{number(row['low'])}, {number(row['high'])}]"
    return f"{number(row['ours'])}{bounds} {row['unit']}"


def number(value: float) -> str:
    """A number with the digits that it is worth: three, but all before the point."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}" if 0.1 <= abs(value) < 1 else f"{value:.3g}"


if __name__ == "__main__":
    write_whole(FOLDER / "RESULTS.md", markdown(FOLDER / "results").encode())
