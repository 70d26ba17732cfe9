"""The figures of the line on a project whose `modelyard up` has run: quality beside its peers, time, memory.

    python bench/line.py [--project examples/pydesk]

Reads the newest release of the project's yard and all that it was made from. The untuned base is asked once
more, with two examples in its prompt; everything else stands in the records, or is timed with a stopwatch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import headline
import results
from results import Figure

from modelyard import machine
from modelyard.cli.table import table
from modelyard.errors import ModelyardError, ProjectError
from modelyard.records.facts import FACTS
from modelyard.records.shapes import Record
from modelyard.records.yard import Yard

PYDESK = Path(__file__).parent.parent / "examples" / "pydesk"
PATIENCE_S = 60  # for a command that has nothing to do
GB_PER_GIB = 2**30 / 1e9
MEMORY_GOAL_GB = 8
COLD_GOAL_MIN = {True: 12, False: 18}  # with native bf16, and without
TOLD = ("cost.", "speed.", "latency.", "memory.")  # facts of the release that stand among the figures


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="The figures of the line, after `modelyard up`.")
    parser.add_argument("--project", type=Path, default=PYDESK, help="folder of the project")
    project: Path = parser.parse_args().project.resolve()
    yard = Yard(project / ".yard")
    releases = yard.find(step="release.choose")
    if not releases:
        raise ProjectError("there is no release yet", where=str(project), try_="`modelyard up` there first")
    release = releases[0]
    made = ancestors(yard, release)
    again = stopwatch("up again, nothing to do", ["up", "--json", "--project", str(project)], 5, at_most=2)
    help_ = stopwatch("--help", ["--help"], 9, at_most=0.3)
    verdicts = headline.Verdicts.of(yard, release)
    systems = headline.answer_all(verdicts)
    quality = headline.figures(systems, seed=verdicts.base.json("verdict.json")["seed"])
    figures = [*quality, *cold_run(made), again, help_, killed(), memory(made), *told(release)]
    results.write("line", figures)
    print(headline.shown(quality, systems), end="\n\n")
    print(shown(figures))


def shown(figures: Iterable[Figure]) -> str:
    """Every figure with its goal."""
    met = {True: "yes", False: "NO", None: ""}
    rows = [figure.row() for figure in figures]
    cells = [[row["figure"], results.measured(row), row["goal"] or "", met[row["met"]]] for row in rows]
    return str(table(["figure", "ours", "goal", "met"], cells))


def ancestors(yard: Yard, release: Record) -> list[Record]:
    """The release and every record that it was made from, in the order in which they were made."""
    found: dict[str, Record] = {}
    waiting = [release]
    while waiting:
        record = waiting.pop()
        if record.id not in found:
            found[record.id] = record
            waiting += [yard.one(id) for ids in record.inputs.values() for id in ids]
    return sorted(found.values(), key=lambda record: (record.ended, record.id))


def cold_run(made: Sequence[Record]) -> list[Figure]:
    """How long the release and all before it took to make, by step and in all."""
    here, kinds = machine.this().kind, {record.environment["kind"] for record in made}
    elsewhere = "" if kinds == {here} else f"made on {', '.join(sorted(kinds))}; this machine: {here}"
    steps: dict[str, list[float]] = {}
    for record in made:
        steps.setdefault(record.step, []).append(record.seconds)
    figures = [
        Figure(
            f"up, cold: {step}",
            None if elsewhere else sum(spent),
            "s",
            why=elsewhere or f"{len(spent)} records",
        )
        for step, spent in steps.items()
    ]
    minutes = sum(record.seconds for record in made) / 60
    longest = sorted(steps.items(), key=lambda step: -sum(step[1]))[:3]
    where = "the steps above together; longest: " + ", ".join(f"{s} {sum(t):.0f} s" for s, t in longest)
    for bf16, goal in COLD_GOAL_MIN.items():
        name = f"up, cold, {'with' if bf16 else 'without'} native bf16"
        why = elsewhere if bf16 is machine.native_bf16() else f"this machine: {here}"
        figures.append(Figure(name, None if why else minutes, "min", at_most=goal, why=why or where))
    return figures


def stopwatch(figure: str, arguments: Sequence[str], times: int, *, at_most: float) -> Figure:
    """Median seconds of a whole `modelyard` process. Raises ProjectError when it fails or has work to do."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        done = run(arguments)
        seconds.append(time.perf_counter() - started)
        steps = json.loads(done)["result"]["steps"] if "--json" in arguments else []
        if any(step["state"] != "kept" for step in steps):
            raise ProjectError("`modelyard up` had something to do", try_="this again: now all is made")
    spread = f"median of {times} processes, {min(seconds):.2f} to {max(seconds):.2f} s"
    return Figure(figure, statistics.median(seconds), "s", at_most=at_most, why=spread)


def run(arguments: Sequence[str]) -> str:
    """What `modelyard` with these arguments writes to stdout."""
    command = [sys.executable, "-m", "modelyard", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise ProjectError(
            f"`modelyard {arguments[0]}` had something to do for {PATIENCE_S} s, and was ended",
            try_="`modelyard up` in the project's folder first; it goes on from there",
        ) from None
    except subprocess.CalledProcessError as error:
        raise ProjectError(f"`modelyard {arguments[0]}` failed: {error.stderr or error.stdout}") from None
    return done.stdout


def killed() -> Figure:
    """`up` on a tiny model, killed with -9 at ten random moments, against an undisturbed one."""
    test = Path(__file__).parent.parent / "tests" / "line" / "test_killed.py"
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not soak", str(test)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=test.parents[2])
    why = "Corpus, Index, Model and Candidates byte for byte, one release (tests/line/test_killed.py)"
    name = "up killed -9 ten times, tiny model: yards that differ"
    return Figure(name, float(done.returncode != 0), "yards", at_most=0, why=why)


def memory(made: Iterable[Record]) -> Figure:
    """The largest peak that a record made on this kind of machine holds, and the largest of each sort."""
    peaks: dict[str, tuple[float, str]] = {}
    for record in made:
        for name in ("train.memory_peak_gib", "memory.peak_gib"):
            value = record.fact(name).value
            if value is not None and record.environment["kind"] == machine.this().kind:
                peaks[name] = max(peaks.get(name, (0.0, "")), (value * GB_PER_GIB, place(record)))
    if not peaks:
        return Figure("peak memory", None, "GB", at_most=MEMORY_GOAL_GB, why="no record holds a peak")
    said = [f"{FACTS[name].text}: {gb:.2f} GB in {where}" for name, (gb, where) in sorted(peaks.items())]
    why = "; ".join([*said, "the other steps do not measure theirs"])
    return Figure("peak memory", max(peaks.values())[0], "GB", at_most=MEMORY_GOAL_GB, why=why)


def place(record: Record) -> str:
    """A record's step, and for a measurement which file on which engine."""
    if record.step != "verify.measure":
        return record.step
    verdict = record.json("verdict.json")
    return f"{record.step} of {verdict['recipe']['type']} on {verdict['engine']}"


def told(release: Record) -> list[Figure]:
    """The release's facts on cost, speed and memory, measured or not."""
    names = [name for name in FACTS if name.startswith(TOLD)]
    facts = [(name, release.fact(name)) for name in names]
    return [Figure(f"release: {n}", f.value, f.unit, low=f.low, high=f.high, why=f.why) for n, f in facts]


if __name__ == "__main__":
    try:
        main()
    except ModelyardError as error:
        sys.exit(f"error: {error}")
